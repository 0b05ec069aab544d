# Inside the guest: lanes of one cell, turn by turn. Sourced by the script that main.rs writes.
export SOURCE=$P2PDMA_SSD PEER=$P2PDMA_GPU_ADDRESS
TIMEFORMAT='%U %S'

# accelerator: KVM, or TCG, which emulates.
accelerator() {
	dmesg | grep -q 'Hypervisor detected: KVM' && echo KVM || echo TCG
}

# ours WAY: p2pbench on that way, which charges to its operations what fio does: all of them, no warm-up apart.
ours() {
	p2pbench run --source "$SOURCE" --peer "$PEER" --way "$1" --path direct --rw "$RW" --block "$BLOCK" --depth "$DEPTH" \
		--span "$SPAN" --seconds "$SECONDS_EACH" --warmup 0 --destructive --json
}

theirs() {
	MEMORY=$1 fio --output-format=json "$JOB"
}

lane() {
	case $1 in
	p2pmem | module) ours "$1" ;;
	fio) theirs "mmapshared:/sys/bus/pci/devices/$PEER/p2pmem/allocate" ;;
	fio-host) theirs mmap ;;
	esac
}

# turn LANE CELL ROUND: its document, and user and system seconds of the whole program, threads of the kernel's pool included.
turn() {
	local out=$P2PDMA_SHARE/$1.$2.$3
	{ time lane "$1" >"$out" 2>"$out.err"; } 2>"$out.cpu" || { cat "$out.err" >&2; return 1; }
}

# fill MIB: data at the SSD's beginning, as a hole of its image would cost nothing to read.
fill() {
	dd if=/dev/zero bs=1M count="$1" status=none | tr '\0' 'x' | dd of="$SOURCE" bs=1M iflag=fullblock oflag=direct status=none
}

# mark NAME: has the emulator's plugin write down what was executed since the last mark (benches/instructions).
mark() {
	: >"$P2PDMA_SHARE/$1.mark"
	until [[ -e $P2PDMA_SHARE/$1.count ]]; do sleep 0.01; done
}

# What a program costs before its first operation and after its last: one that hardly does any.
idle() {
	local seconds=$SECONDS_EACH
	SECONDS_EACH=0.05
	[[ $1 == fio* ]] && SECONDS_EACH=50ms
	turn "$1" "$2" "$3.idle"
	SECONDS_EACH=$seconds
}
