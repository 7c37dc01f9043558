mov rax, qword ptr [rdi + 8]
mov eax, dword ptr [rax + 148]
ret
