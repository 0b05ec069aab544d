# shellcheck shell=bash disable=SC2034  # the variables are for those that source it
# What the scripts of tests/vm share. To be sourced.

# Administration commands live in sbin, which a plain user's PATH may lack.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
vm=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cache=${P2PDMA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/p2pdma}

say() {
	printf 'tests/vm/%s: %s\n' "${0##*/}" "$*" >&2
}

# fail STATUS MESSAGE...
fail() {
	local status=$1
	shift
	say "$@"
	exit "$status"
}

# The first 16 digits of the hash of stdin: enough for a name in a cache.
hash_of() {
	sha256sum | cut -c1-16
}
