package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"time"

	"github.com/posta-mail/posta/store"
)

// Reasons of failure besides the kinds of package store.
var (
	// ErrBroken is a message that cannot be read, or not as a message. It is
	// skipped. A Source wraps it around errors that concern one message only.
	ErrBroken = errors.New("transfer: broken message")
	// ErrTooBig is a message above Options.MaxMessage. It is skipped.
	ErrTooBig = errors.New("transfer: message too big")
	// ErrFolder is a folder that cannot be read or made. It is skipped. Sources
	// and Sinks wrap it around errors that concern one folder only.
	ErrFolder = errors.New("transfer: folder cannot be copied")
	// ErrChanged: a source or destination is no longer what the checkpoint
	// was written for.
	ErrChanged = errors.New("transfer: changed since the checkpoint")
	// ErrCheckpoint: the checkpoint cannot be read or belongs to another copy.
	ErrCheckpoint = errors.New("transfer: checkpoint cannot be used")
	// ErrLimit: a source has more or longer of something than is accepted.
	ErrLimit = errors.New("transfer: limit exceeded")
)

// Source is where mail comes from.
type Source interface {
	// Identity tells this source from others, the same in every run: a path,
	// a server and user. It is part of what makes a repeated copy harmless.
	Identity() string
	// Folders lists the mailboxes, parents before what lies below them.
	Folders(ctx context.Context) ([]Folder, error)
	// Messages yields a folder's messages in an order that is the same in
	// every run, beginning behind a Message.Position, or with the first if
	// after is empty. An error with a message concerns that alone; an error
	// without one is the last that is yielded. The iterator may be stopped.
	Messages(ctx context.Context, f Folder, after string) iter.Seq2[*Message, error]
}

// Sink is where mail goes.
type Sink interface {
	// Identity tells this sink from others, as that of a Source.
	Identity() string
	// Open makes a folder ready, creating it if it is missing. At is
	// Filed.Position of the last message that an earlier run filed here; empty
	// if there was none.
	Open(ctx context.Context, f Folder, at string) (FolderSink, error)
}

// FolderSink takes the messages of one folder. It is used by one goroutine.
type FolderSink interface {
	// Put takes a message, whose Body it reads to the end. Its outcome is told
	// by calling done, in the order of Put, once it is durable, during this or
	// a later call. An error means that nothing more can be filed, unless it
	// is the Body's.
	Put(ctx context.Context, m *Message, done func(Filed)) error
	// Flush waits until every outcome has been told.
	Flush(ctx context.Context) error
	// Close releases the folder; what has not been flushed is lost. Complete
	// says that the copy of this folder has come to its end.
	Close(complete bool) error
}

// Folder is a mailbox of a source, or the wish for one in a sink.
type Folder struct {
	// Name has store.Separator between its levels. From a source it may be
	// anything; a sink gets the canonical form of store.CanonicalName.
	Name string
	// Key is what the source knows the folder by; Name if empty.
	Key        string
	SpecialUse string // RFC 6154, such as `\Sent`, or empty
	Subscribed bool
	// Messages and Octets are what the folder holds, for progress; negative
	// if that is not known.
	Messages int
	Octets   int64
	// Err is why the folder cannot be read: it is reported and left out.
	Err error
}

func (f Folder) key() string {
	if f.Key != "" {
		return f.Key
	}
	return f.Name
}

// Message is a message on its way.
type Message struct {
	// ID names the message within its folder, the same in every run.
	ID string
	// Position is where Source.Messages goes on behind this message. It is
	// valid once Body has been read to its end.
	Position string
	Flags    []store.Flag
	Date     time.Time // internal date; zero: not known
	UIDL     string    // POP3's unique-id if the source knows it
	// Body is the message, its lines ended by CRLF. It is valid until the
	// next message is asked for.
	Body io.Reader
	// Size is the length in octets; negative if it is not known.
	Size int64

	folder [3]byte
	hash   hash.Hash
}

// Token is a name for the message that depends on the source, the folder, the
// ID, and the content: 42 characters, the same in every run. It is valid once
// Body has been read to its end.
func (m *Message) Token() string {
	// The folder and the date come first so that an index of tokens grows at
	// few places.
	b := append(make([]byte, 0, 32), m.folder[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(max(m.Date.Unix(), 0)))
	if m.hash != nil {
		b = append(b, m.hash.Sum(nil)[:20]...)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// track makes Token depend on what is read from now on.
func (m *Message) track(source string, f Folder) {
	sum := sha256.Sum256([]byte(source + "\x00" + f.key()))
	copy(m.folder[:], sum[:])
	m.hash = sha256.New()
	fmt.Fprintf(m.hash, "%s\x00%s\x00%s\x00", source, f.key(), m.ID)
}

// Filed is the outcome for one message.
type Filed struct {
	// Duplicate: it was there already, and nothing was filed.
	Duplicate bool
	// Altered: something had to be left out, such as keywords above the limit.
	Altered bool
	// Err is why the message was not taken although others may be.
	Err error
	// Position is handed to Sink.Open by the next run.
	Position string
}

// Options of Copy. The zero value copies everything, silently and without
// being resumable after a day.
type Options struct {
	// Checkpoint is the name of a file that remembers what has been copied,
	// written at most once a second, and never in part. It is made when it is
	// missing. Empty: none; a repeated copy into a store then looks at
	// everything again and files what the store's tokens do not know, which
	// engines forget after a day or two; other sinks refuse to begin twice or
	// compare with what is there, as their comments say.
	Checkpoint string
	// Mailbox gives the name under which a folder is filed, and false to
	// leave it out. Nil: its own name. Names that no store could have are
	// changed as little as possible: see Report.Renamed.
	Mailbox func(name string) (string, bool)
	// Progress is called at most ten times a second and once at the end.
	Progress func(Progress)
	// Skipped is called for every message that is left out.
	Skipped func(Skip)
	// MaxMessage is the size in octets above which messages are skipped.
	// Default 1 GiB; negative: no limit but the sink's.
	MaxMessage int64

	saveEvery time.Duration // tests
}

// DefaultMaxMessage is what Options.MaxMessage is if it is zero, in octets.
const DefaultMaxMessage = 1 << 30
