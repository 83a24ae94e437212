module github.com/sessioncb/openssl/bench

go 1.26.0

require github.com/sessioncb/openssl v0.0.0

require (
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
	golang.org/x/sync v0.25.0 // indirect
)

replace github.com/sessioncb/openssl => ../
