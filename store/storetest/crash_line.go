package storetest

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/store"
)

// crashEvent is one line of what a child says: that it begins something, and,
// with Done, that it was acknowledged. A worker does one thing at a time.
type crashEvent struct {
	Worker string      `json:"w"`
	Kind   crashKind   `json:"k"`
	Done   bool        `json:"d,omitempty"`
	Items  []crashItem `json:"i,omitempty"`
	Text   string      `json:"t,omitempty"`
}

type crashKind string

const (
	crashOpen    crashKind = "open"    // the store was opened and has what the workers need
	crashEnd     crashKind = "end"     // the child ends itself
	crashError   crashKind = "error"   // Text says what failed that must not
	crashAccount crashKind = "account" // made
	crashCreate  crashKind = "create"  // a mailbox
	crashExists  crashKind = "exists"  // a mailbox that was to be made
	crashRename  crashKind = "rename"
	crashDelete  crashKind = "delete"
	crashPlace   crashKind = "place"
	crashFlag    crashKind = "flag"
	crashExpunge crashKind = "expunge"
	crashCopy    crashKind = "copy"
	crashMove    crashKind = "move"
	crashEnqueue crashKind = "enqueue"
	crashLease   crashKind = "lease"
	crashSettle  crashKind = "settle"
)

// crashItem is one object of an event.
type crashItem struct {
	Account  string       `json:"a,omitempty"`
	Mailbox  string       `json:"m,omitempty"`
	Dest     string       `json:"e,omitempty"` // of copy, move, rename
	Token    string       `json:"t,omitempty"` // names the message
	UID      store.UID    `json:"u,omitempty"`
	To       store.UID    `json:"o,omitempty"` // in Dest
	ModSeq   store.ModSeq `json:"s,omitempty"`
	Validity uint32       `json:"v,omitempty"`
	ID       store.ItemID `json:"q,omitempty"`
	Fence    uint64       `json:"f,omitempty"`
}

func (e *crashEvent) line() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings and numbers
	}
	return append(b, '\n')
}

func parseCrashEvent(line string) (*crashEvent, error) {
	e := new(crashEvent)
	if err := json.Unmarshal([]byte(line), e); err != nil {
		return nil, fmt.Errorf("the child said %q", line)
	}
	return e, nil
}

// The workers' mailboxes. INBOX and Copies lose messages to expunges, Lists to
// moves; nothing is ever removed from Moved and from INBOX of the second
// account.
const (
	crashUser0, crashUser1 = "user0", "user1"

	crashLists, crashCopies, crashMoved = "Lists", "Copies", "Moved"
)

// Octets of the two sizes above those of common mail.
const (
	crashLarge = 48 << 10
	crashHuge  = 300 << 10
)

// crashMail is the message of a token; its size depends on it.
func crashMail(token string) []byte {
	sum := fnv.New32a()
	io.WriteString(sum, token)
	h := int(sum.Sum32() >> 1)
	size := 200 + h%6000
	switch {
	case h%101 == 0:
		size = crashHuge
	case h%11 == 0:
		size = crashLarge
	}
	b := make([]byte, 0, size+2*len(token)+100)
	b = append(b, "Subject: "+token+"\r\n\r\n"...)
	for i := int64(0); len(b) < size; i++ {
		b = append(strconv.AppendInt(append(append(b, token...), " line "...), i, 10), "\r\n"...)
	}
	return b
}

func crashPrefix(token string) []byte { return []byte("X-Token: " + token + "\r\n") }

// crashWhole is what a reader of the message must see.
func crashWhole(token string) []byte { return append(crashPrefix(token), crashMail(token)...) }

// readToken is the token of a message, from its first line.
func readToken(b store.Body) (string, error) {
	head := make([]byte, min(200, b.Size()))
	if _, err := io.ReadFull(io.NewSectionReader(b, 0, int64(len(head))), head); err != nil {
		return "", err
	}
	line, _, ok := strings.Cut(string(head), "\r\n")
	token, found := strings.CutPrefix(line, "X-Token: ")
	if !ok || !found {
		return "", fmt.Errorf("message begins with %q", head[:min(len(head), 40)])
	}
	return token, nil
}
