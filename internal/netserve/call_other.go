//go:build !unix

package netserve

// socketGone cannot know.
func socketGone(uintptr) bool { return false }
