/* A module that is loaded and does nothing. */
int module_state = 42;
static int module_zero[100];
int module_function(int event) { return event + module_state + module_zero[event & 1]; }
