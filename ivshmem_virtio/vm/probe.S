/* SPDX-License-Identifier: MIT */
/*
 * A 64 KiB firmware image that finds out whether an accelerator runs 64-bit code: from the reset vector through
 * protected mode into long mode, a long calculation there, and its result to QEMU's isa-debug-exit port.
 *
 * It needs no RAM: descriptors and page tables lie in the image, the latter with their accessed bits set, so the
 * processor writes nothing. The image is seen below 4 GiB, from 0xffff0000 on.
 */
	.set	BASE, 0xffff0000
	.set	EXIT_PORT, 0xf4
	.set	ROUNDS, 3000000
	/* x * 6364136223846793005 + 1442695040888963407, ROUNDS times from 1: the value test_vm_accelerator.py computes too. */
	.set	RESULT, 0x16458006fb7824c1
	.set	PASSED, 0x2a
	.set	FAILED, 0x2b
	/* Present, writable, accessed; and for the last level dirty and "this is a 2 MiB page". */
	.set	TABLE, 0x23
	.set	PAGE, 0xe3

	.text
	.org	0x0000
pml4:	.quad	BASE + pdpt + TABLE
	.org	0x1000
pdpt:	.fill	3, 8, 0
	.quad	BASE + pd + TABLE		/* 3 GiB to 4 GiB */
	.org	0x2000
pd:	.fill	511, 8, 0
	.quad	0xffe00000 + PAGE		/* the last 2 MiB: this image, mapped to itself */

	.org	0x3000
gdt:	.quad	0
	.quad	0x00cf9b000000ffff		/* 8: 32-bit code */
	.quad	0x00cf93000000ffff		/* 16: data */
	.quad	0x00af9b000000ffff		/* 24: 64-bit code */
gdtr:	.word	gdtr - gdt - 1
	.long	BASE + gdt

	.code16
start:	cli
	lgdtl	%cs:gdtr
	movl	%cr0, %eax
	orb	$1, %al				/* protection enable */
	movl	%eax, %cr0
	ljmpl	$8, $BASE + protected

	.code32
protected:
	movl	$16, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	%cr4, %eax
	orl	$0x20, %eax			/* physical address extension */
	movl	%eax, %cr4
	movl	$BASE + pml4, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx		/* EFER: long mode enable */
	rdmsr
	orl	$0x100, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000000, %eax		/* paging */
	movl	%eax, %cr0
	ljmpl	$24, $BASE + long

	.code64
long:	movabsq	$6364136223846793005, %rsi
	movabsq	$1442695040888963407, %rdi
	movl	$1, %eax
	movl	$ROUNDS, %ecx
1:	imulq	%rsi, %rax
	addq	%rdi, %rax
	decl	%ecx
	jnz	1b
	movabsq	$RESULT, %rdx
	cmpq	%rdx, %rax
	movl	$PASSED, %eax
	je	2f
	movl	$FAILED, %eax
2:	movl	$EXIT_PORT, %edx
	outl	%eax, %dx
3:	jmp	3b				/* newer QEMUs end a little later */

	.org	0xfff0				/* where the processor starts */
	.code16
	jmp	start
	.org	0x10000
