package main

import "context"

var stores = &curve{
	name: "stores", title: "Sessions in a store", x: "sessions",
	how:     "",
	charts:  nil,
	measure: func(_ context.Context, b *bench, r *result) error { return nil },
}
