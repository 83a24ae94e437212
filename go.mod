module github.com/sessioncb/openssl

go 1.26
