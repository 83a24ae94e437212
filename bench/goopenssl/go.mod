module github.com/sessioncb/openssl/bench/goopenssl

go 1.26.0

require (
	github.com/libp2p/go-openssl v0.1.0
	github.com/sessioncb/openssl/bench v0.0.0
)

require (
	github.com/mattn/go-pointer v0.0.1 // indirect
	github.com/spacemonkeygo/spacelog v0.0.0-20180420211403-2296661a0572 // indirect
	golang.org/x/sys v0.50.0 // indirect
)

replace (
	github.com/sessioncb/openssl => ../../
	github.com/sessioncb/openssl/bench => ../
)
