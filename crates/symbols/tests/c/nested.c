/* Constants of an enumeration within a structure, which no index has. */
struct proc {
	enum { PRS_NEW = 3, PRS_NORMAL, PRS_ZOMBIE } p_state;
} proc0 = { PRS_NORMAL };

int main(void) { return proc0.p_state == PRS_ZOMBIE; }
