/*
 * What a processor does from its reset until it is in the kernel of the tests, which was put into memory with its page
 * tables: it turns these on and begins to idle in cpu_idle(). ROOT and the other names are given by the test.
 */
	.text
	.globl _start
#if defined(__x86_64__)
/* The machine's firmware, 64 KB below 4 GB. It begins in 16-bit mode at its last paragraph. */
	.code16
_start:
	cli
	lgdtl %cs:(table - _start)
	movl $ROOT, %eax
	movl %eax, %cr3
	movl $0x20, %eax		/* page tables with entries of 8 bytes */
	movl %eax, %cr4
	movl $0xc0000080, %ecx		/* EFER: 64-bit mode, pages that are not executed */
	movl $0x900, %eax
	xorl %edx, %edx
	wrmsr
	movl $0x80010001, %eax		/* protected mode, paging, no writing to what is read-only */
	movl %eax, %cr0
	ljmpl $8, $inside
	.code64
inside:
	movabs $STACK, %rsp
	movabs $FRAME, %rbp
	movabs $ENTRY, %rax
	jmp *%rax
	.balign 8
segments:
	.quad 0, 0x00af9a000000ffff	/* 64-bit code */
table:
	.word 15
	.long segments
	.org 0xfff0
	.code16
	jmp _start
	.org 0x10000
#elif defined(__aarch64__)
/* Somewhere in memory, which USER_ROOT maps one to one from 1 GB to 2 GB. */
_start:
	ldr x0, =USER_ROOT
	msr ttbr0_el1, x0
	ldr x0, =ROOT
	msr ttbr1_el1, x0
	mov x0, #0xff			/* memory that may be cached */
	msr mair_el1, x0
	ldr x0, =0x2b5103519		/* 39 bits of addresses below, 48 above; pages of 4 KB; 40 bits of memory */
	msr tcr_el1, x0
	isb
	mrs x0, sctlr_el1
	orr x0, x0, #1
	msr sctlr_el1, x0
	isb
	ldr x0, =STACK
	mov sp, x0
	ldr x29, =FRAME
	ldr x30, =RETURN_TO
	ldr x18, =PCPU
	msr tpidr_el1, x18
	ldr x0, =ENTRY
	br x0
#endif
