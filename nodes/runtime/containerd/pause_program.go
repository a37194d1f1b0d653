package containerd

import "encoding/binary"

// pauseProgram is a whole static program for this kind of processor; nil where there is none. It waits for a byte on its
// input, ends if none comes, then ignores SIGCHLD, so that the kernel reaps its children (those that it inherits too), and
// sleeps for ever.
func pauseProgram(arch string) []byte {
	switch arch {
	case "amd64":
		return elf(62, pauseAMD64())
	case "arm64":
		return elf(183, pauseARM64())
	}
	return nil
}

// sigaction is what rt_sigaction is given: SIG_IGN.
func sigaction() []byte { return append([]byte{1}, make([]byte, 31)...) }

func pauseAMD64() []byte {
	return append([]byte{
		0x31, 0xc0, // xor eax, eax (read)
		0x31, 0xff, // xor edi, edi
		0x48, 0x8d, 0x74, 0x24, 0xf8, // lea rsi, [rsp-8]
		0xba, 1, 0, 0, 0, // mov edx, 1
		0x0f, 0x05, // syscall
		0x83, 0xf8, 0x01, // cmp eax, 1
		0x75, 45, // jne end
		0xb8, 3, 0, 0, 0, // mov eax, close
		0x31, 0xff, // xor edi, edi
		0x0f, 0x05, // syscall
		0xb8, 13, 0, 0, 0, // mov eax, rt_sigaction
		0xbf, 17, 0, 0, 0, // mov edi, SIGCHLD
		0x48, 0x8d, 0x35, 26, 0, 0, 0, // lea rsi, [rip+26] (the action)
		0x31, 0xd2, // xor edx, edx
		0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
		0x0f, 0x05, // syscall
		0xb8, 34, 0, 0, 0, // again: mov eax, pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp again
		0xb8, 231, 0, 0, 0, // end: mov eax, exit_group
		0x0f, 0x05, // syscall
	}, sigaction()...)
}

func pauseARM64() []byte {
	var out []byte
	for _, instruction := range []uint32{
		0xd2800000,               // mov x0, #0
		0xd10043e1,               // sub x1, sp, #16
		0xd2800022,               // mov x2, #1
		0xd28007e8,               // mov x8, #63 (read)
		0xd4000001,               // svc #0
		0xf100041f,               // cmp x0, #1
		0x54000000 | 18<<5 | 0x1, // b.ne end
		0xd2800000,               // mov x0, #0
		0xd2800728,               // mov x8, #57 (close)
		0xd4000001,               // svc #0
		0xd2800220,               // mov x0, #17 (SIGCHLD)
		0x10000000 | 16<<5 | 0x1, // adr x1, the action
		0xd2800002,               // mov x2, #0
		0xd2800103,               // mov x3, #8
		0xd28010c8,               // mov x8, #134 (rt_sigaction)
		0xd4000001,               // svc #0
		0xd2800000,               // again: mov x0, #0
		0xd2800001,               // mov x1, #0
		0xd2800002,               // mov x2, #0
		0xd2800003,               // mov x3, #0
		0xd2800004,               // mov x4, #0
		0xd2800928,               // mov x8, #73 (ppoll)
		0xd4000001,               // svc #0
		0x17fffff9,               // b again
		0xd2800bc8,               // end: mov x8, #94 (exit_group)
		0xd4000001,               // svc #0
		0xd503201f,               // nop, to align the action
	} {
		out = binary.LittleEndian.AppendUint32(out, instruction)
	}
	return append(out, sigaction()...)
}

// elf is an executable file of that code, which is also all its memory.
func elf(machine uint16, code []byte) []byte {
	const base, headers = 0x400000, 64 + 56
	le := binary.LittleEndian
	out := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	out = le.AppendUint16(out, 2) // executable
	out = le.AppendUint16(out, machine)
	out = le.AppendUint32(out, 1)
	out = le.AppendUint64(out, base+headers) // entry
	out = le.AppendUint64(out, 64)           // program headers
	out = le.AppendUint64(out, 0)            // no sections
	out = le.AppendUint32(out, 0)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
		out = le.AppendUint16(out, v)
	}
	size := uint64(headers + len(code))
	out = le.AppendUint32(out, 1) // load
	out = le.AppendUint32(out, 5) // read, execute
	for _, v := range []uint64{0, base, base, size, size, 0x10000} {
		out = le.AppendUint64(out, v)
	}
	return append(out, code...)
}
