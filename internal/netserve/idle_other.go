//go:build !unix

package netserve

const canPeek = false

func inputWaits(uintptr) bool { return true }
