; A guest whose heartbeat can be watched from outside: firmware of its own for QEMU's -bios, 64 KiB.
; 32-bit flat protected mode, no paging, one vCPU that sleeps between its ticks.
;
; Every 2 ms (the PIT's interrupt) it dirties some pages of its working set, one after the other and round
; again, and then adds 1 to its heartbeat: the first dword of the last page of RAM. That page is the
; last of its block, so it is also the last that a pass of a migration carries.
;
; Set up from outside before it runs (-device loader,addr=..,data=..,data-len=4), dwords, little endian:
;   0x8000  working set in pages, from 1 MiB on
;   0x8004  pages dirtied in each tick
;   0x8008  bytes of RAM
; The RAM above 1 MiB is first filled with dwords that differ, so that no page is zero. Then it writes
; 'F' to the serial port (0x3f8), once.
;
; RAM that it uses below 1 MiB: page 6 (IDT), page 7 (code at 0x7c00, stack below), page 8.
; Build: nasm -f bin -o heartbeat.bin heartbeat.asm

%define IDT 0x6000
%define CODE 0x7c00
%define WORKING_SET_PAGES 0x8000
%define PAGES_PER_TICK 0x8004
%define RAM_BYTES 0x8008
%define REGION 0x100000
%define TIMER_VECTOR 0x20
%define APIC_SPURIOUS 0xfee000f0
%define APIC_LINT0 0xfee00350
%define TICKS_PER_SECOND 500
%define PIT_DIVISOR 1193182 / TICKS_PER_SECOND

section code start=0xf000 vstart=CODE
        bits 16
start:  in al, 0x92             ; A20 gate
        or al, 2
        and al, 0xfe
        out 0x92, al
        xor ax, ax
        mov ds, ax
        lgdt [gdtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp 0x08:pm

        bits 32
pm:     mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, CODE
        cld

        mov edi, REGION         ; no page is zero, and no two are the same
        mov ecx, [RAM_BYTES]
        sub ecx, edi
        shr ecx, 2
        mov eax, 1
fill:   stosd
        add eax, 0x9e3779b1
        loop fill
        mov edi, [RAM_BYTES]
        mov dword [edi-4096], 1

        mov dword [IDT+TIMER_VECTOR*8], 0x00080000 + CODE + (timer-start)
        mov dword [IDT+TIMER_VECTOR*8+4], 0x00008e00
        lidt [idtr]
        mov al, 0x11            ; both PICs: edge, cascade, with ICW4
        out 0x20, al
        out 0xa0, al
        mov al, TIMER_VECTOR    ; their vectors
        out 0x21, al
        mov al, TIMER_VECTOR+8
        out 0xa1, al
        mov al, 4
        out 0x21, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0x21, al
        out 0xa1, al
        mov al, 0xfe            ; only the timer
        out 0x21, al
        mov al, 0xff
        out 0xa1, al
        mov dword [APIC_SPURIOUS], 0x1ff
        mov dword [APIC_LINT0], 0x700   ; the local APIC passes the PIC's interrupts on
        mov al, 0x34            ; PIT channel 0, rate generator
        out 0x43, al
        mov al, PIT_DIVISOR & 0xff
        out 0x40, al
        mov al, PIT_DIVISOR >> 8
        out 0x40, al

        mov al, 'F'
        mov dx, 0x3f8
        out dx, al

        xor esi, esi            ; where in the working set
tick:   sti
        hlt
        mov ecx, [PAGES_PER_TICK]
        jecxz beat
write:  cmp esi, [WORKING_SET_PAGES]
        jb .in
        xor esi, esi
.in:    mov edi, esi
        shl edi, 12
        inc dword [edi+REGION]
        inc esi
        loop write
beat:   mov edi, [RAM_BYTES]
        inc dword [edi-4096]
        jmp tick

timer:  push eax
        mov al, 0x20            ; end of interrupt
        out 0x20, al
        pop eax
        iretd

        align 8
gdt:    dq 0
        dq 0x00cf9a000000ffff   ; code, flat
        dq 0x00cf92000000ffff   ; data, flat
gdtr:   dw gdtr - gdt - 1
        dd gdt
idtr:   dw (TIMER_VECTOR+1)*8 - 1
        dd IDT
        times 512 - ($ - $$) db 0

section boot start=0xf200 vstart=0xf200
        bits 16
copy:   cli
        cld
        xor ax, ax
        mov es, ax
        mov si, 0xf000          ; CS base is 0xffff0000 after reset
        mov di, CODE
        mov cx, 256
        cs rep movsw
        jmp 0x0000:CODE

section reset start=0xfff0 vstart=0xfff0
        bits 16
        jmp near copy
        times 16 - ($ - $$) db 0
