# shellcheck shell=bash disable=SC2034,SC2154  # variables are shared with tests/vm/run
# The words that a file in topologies/ is made of. To be sourced by tests/vm/run.
#
#   about TEXT                  one line for --list
#   root_port PORT [PROPERTY..] a PCIe root port (these have ACS), on PROPERTY bus=.. or on pcie.0
#   switch SWITCH [ROOT-PORT]   a switch below a root port (made where none is named); its ports have no ACS
#   host_bridge BRIDGE NUMBER   one more PCIe host bridge, its bus numbers from NUMBER on
#   ssd NAME PLACE [PROPERTY..] an NVMe SSD of 512 MiB; NAME is its serial number
#   namespace NAME PLACE PROPERTY..  an NVMe SSD of 512 MiB, each PROPERTY its namespace's (QEMU's nvme-ns)
#   multipath NAME PLACE..      an NVMe SSD of 512 MiB with a controller at each PLACE; its namespace is a multipath head
#   gpu NAME PLACE SIZE         a device with SIZE (as in 64M) of real memory behind its BAR 2
#   machine PROPERTY..          more of -machine
#   qemu ARGUMENT..             any other argument of QEMU
#   kernel PARAMETER..          more of the kernel's command line
#   guest LINE..                shell lines for the guest, before the command, as root; what they export, the command sees
#
# A PLACE is a root port (one device each) or a switch (which grows a downstream port for each device).

about=
machine=()
topology_args=()
kernel_parameters=()
guest_lines=()
serials=()
gpus=0
declare -A switches=()
ports=0

about() {
	about=$*
}

machine() {
	machine+=("$@")
}

qemu() {
	topology_args+=("$@")
}

kernel() {
	kernel_parameters+=("$@")
}

guest() {
	guest_lines+=("$@")
}

# Joins a device and its properties by commas.
device() {
	local IFS=,
	qemu -device "$*"
}

# QEMU wants every slot below a root complex or a switch to have a number of its own.
root_port() {
	local port=$1 bus=bus=pcie.0
	shift
	[[ " $*" != *" bus="* ]] || bus=
	ports=$((ports + 1))
	device pcie-root-port "id=$port" ${bus:+"$bus"} "chassis=$ports" "slot=$ports" "$@"
}

host_bridge() {
	device pxb-pcie "id=$1" bus=pcie.0 "bus_nr=$2"
}

switch() {
	local port=${2:-$1-root-port}
	[[ ${2:-} ]] || root_port "$port"
	device x3130-upstream "id=$1" "bus=$port"
	switches[$1]=0
}

# Sets bus to where a device at PLACE is to be plugged in.
place() {
	bus=$1
	[[ ${switches[$1]:-} ]] || return 0
	bus=$1-port${switches[$1]}
	switches[$1]=$((switches[$1] + 1))
	ports=$((ports + 1))
	device xio3130-downstream "id=$bus" "bus=$1" "chassis=$ports" "slot=$ports"
}

# What is written to an image is thrown away with the machine, so nothing need reach the host's disk.
image() {
	serials+=("$1")
	qemu -drive "file=$images/$1,if=none,id=$1-image,format=raw,cache=unsafe"
}

ssd() {
	local name=$1 bus
	place "$2"
	shift 2
	image "$name"
	device nvme "id=$name" "drive=$name-image" "serial=$name" "bus=$bus" "$@"
}

namespace() {
	local name=$1 bus
	place "$2"
	shift 2
	image "$name"
	device nvme "id=$name" "serial=$name" "bus=$bus"
	device nvme-ns "drive=$name-image" "bus=$name" "$@"
}

multipath() {
	local name=$1 path=0 where bus
	shift
	device nvme-subsys "id=$name-subsystem"
	for where; do
		place "$where"
		device nvme "id=$name-path$path" "serial=$name" "subsys=$name-subsystem" "bus=$bus"
		path=$((path + 1))
	done
	image "$name"
	device nvme-ns "id=$name" "drive=$name-image" "bus=$name-path0" nsid=1 shared=on
}

gpu() {
	local name=$1 size=$3 bus
	place "$2"
	shift 3
	gpus=$((gpus + 1))
	qemu -object "memory-backend-ram,id=$name-memory,size=$size,share=on"
	device ivshmem-plain "id=$name" "memdev=$name-memory" "bus=$bus" "$@"
}
