module ringfence.dev/examples/adopt

go 1.26
