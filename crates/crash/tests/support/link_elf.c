/* A module that is a shared object, as on all machines but amd64: it lies as a whole where it was loaded. */
#include "types.h"
#include "linker.h"

struct elf_file { struct linker_file lf; int preloaded; void *address; };
struct elf_file module_elf __asm__("module_file") = {
	.lf = { .filename = "forged.ko", .id = 2, .refs = 1, .address = (void *)MODULE, .size = 0x2000 },
	.address = (void *)MODULE,
};
void *keep_module = &module_elf;
