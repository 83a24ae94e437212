//go:build !asan

package ssl

const underASan = false
