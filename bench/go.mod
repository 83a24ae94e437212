module github.com/sessioncb/openssl/bench

go 1.26.0

replace github.com/sessioncb/openssl => ../

require (
	github.com/google/go-cmp v0.7.0
	golang.org/x/sys v0.50.0
)
