/* A file that the kernel has loaded. */
struct linker_file { TAILQ_ENTRY(linker_file) link; char *filename; int id, refs; void *address; word size; };
