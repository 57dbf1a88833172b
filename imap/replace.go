package imap

import "github.com/posta-mail/posta/store"

// replaced is the message that REPLACE replaces.
type replaced struct{ uid store.UID }
