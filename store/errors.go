package store

import "errors"

// The neutral kinds of failure. Engines wrap them; each protocol maps them to
// its replies in one function, with errors.Is.
var (
	ErrNotFound    = errors.New("store: not found")
	ErrExists      = errors.New("store: already exists")
	ErrInvalidName = errors.New("store: invalid mailbox name")
	ErrOverQuota   = errors.New("store: over quota")
	ErrLimit       = errors.New("store: limit reached") // keywords, UIDs, sizes
	ErrInvalid     = errors.New("store: invalid argument")
	ErrConflict    = errors.New("store: conflicting change")
	ErrInUse       = errors.New("store: in use")
	ErrReadOnly    = errors.New("store: not permitted")
	ErrUnavailable = errors.New("store: temporarily unavailable")
	ErrExpunged    = errors.New("store: message expunged")
	ErrHistoryGone = errors.New("store: history no longer kept")
	ErrCorrupt     = errors.New("store: data damaged")
	ErrNoSpace     = errors.New("store: no space left")
)
