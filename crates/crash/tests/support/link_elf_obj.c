/* A module that is an object file: the tests fill in where its sections lie. */
#include "types.h"
#include "linker.h"

typedef struct { void *addr; word size; int flags, sec; char *name; } Elf_progent;
struct elf_file { struct linker_file lf; int preloaded; void *address; Elf_progent *progtab; u32 nprogtab; };

Elf_progent module_progtab[32] = { { .name = "not filled in" } };
char module_names[1024] = "?";
struct elf_file module_elf __asm__("module_file") = {
	.lf = { .filename = "forged.ko", .id = 2, .refs = 1, .address = (void *)MODULE, .size = 0x2000 },
	.progtab = module_progtab, .nprogtab = 1,
};
void *keep_module = &module_elf;
