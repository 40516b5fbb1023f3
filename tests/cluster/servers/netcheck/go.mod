module ringfence.dev/cluster/netcheck

go 1.26.0
