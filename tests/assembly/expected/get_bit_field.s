mov rax, qword ptr [rdi + 8]
movzx eax, byte ptr [rax]
and eax, 1
ret
