mov rax, qword ptr [rdi + 8]
mov ecx, dword ptr [rax]
movzx edx, byte ptr [rax + 4]
shl rdx, 32
or rdx, rcx
movzx ecx, byte ptr [rax + 5]
shl rcx, 40
or rcx, rdx
shr rcx, 6
movabs rax, 1099511627775
and rax, rcx
ret
