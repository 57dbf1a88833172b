// Command customstore reads the logs of programs with a mail client: every log
// file is a mailbox, every line of it a message. Lines as log/slog's JSONHandler
// writes them have their message as subject, their time as date, and are flagged
// if they are errors. The first file is INBOX, so that POP3 sees it too.
//
//	go run ./examples/customstore -user me:secret app.log web.log
//
// It shows how a back end that is no mail store is written, in the three steps
// of store.Source:
//
//  1. logs lists accounts and mailboxes.
//  2. logFile.Snapshot lists the messages of one. It reads only what has been
//     appended since the last call, and Snapshot.With shares the rest.
//  3. logFile.Open gives the bytes of a message: Row.Ref says where its line
//     begins, and the line is rendered again.
//
// store.ReadOnly does everything else, and storetest.RunReadOnly in the test of
// this program proves it.
//
// What needs thought in any such back end is how UIDs stay what they are, for
// ever and after a restart, with nothing written down. Here the UID is the number
// of the line, since lines are only appended, and UIDVALIDITY the time in the
// file's first line: a log that has been rotated begins later, so that it has a
// greater one. A line that is not complete yet, without its newline, is no
// message yet.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log"
	"maps"
	"mime"
	"mime/quotedprintable"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posta-mail/posta"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/pop3"
	"github.com/posta-mail/posta/store"
)

// maxLine is how much of a line is shown, in octets.
const maxLine = 64 << 10

// logs is a store.Source of one account.
type logs struct {
	user  string
	boxes []store.SourceMailbox
}

// openLogs makes a mailbox of each file, which need not exist yet. Of two with
// the same name the first is there.
func openLogs(user string, paths []string) *logs {
	l := &logs{user: user}
	for i, path := range paths {
		id := store.MailboxID(i + 1)
		name, err := store.CanonicalName(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
		if i == 0 {
			name, err = store.Inbox, nil
		}
		same := func(b store.SourceMailbox) bool { return b.Name == name }
		if err == nil && !slices.ContainsFunc(l.boxes, same) {
			l.boxes = append(l.boxes, store.SourceMailbox{ID: id, Name: name, Messages: &logFile{id: id, path: path}})
		}
	}
	return l
}

func (l *logs) Accounts(context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield(l.user, nil) }
}

func (l *logs) Mailboxes(_ context.Context, account string) ([]store.SourceMailbox, error) {
	if account != l.user {
		return nil, store.ErrNotFound
	}
	return l.boxes, nil
}

// logFile is the store.Messages of one file.
type logFile struct {
	id   store.MailboxID
	path string

	mu    sync.Mutex
	snap  *store.Snapshot
	first []byte    // the first line, by which a new file is known
	next  int64     // where the next line begins
	last  time.Time // of the last line that had one
}

// Snapshot reads what has been appended. The file is opened each time, since a
// rotated one is another file of the same name.
func (l *logFile) Snapshot(context.Context) (*store.Snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		l.restart(nil)
		return l.snap, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	first, _, err := readLine(bufio.NewReader(f))
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if l.snap == nil || info.Size() < l.next || !bytes.Equal(first, l.first) {
		l.restart(first)
	}
	if info.Size() == l.next {
		return l.snap, nil
	}
	return l.snap, l.read(io.NewSectionReader(f, l.next, info.Size()-l.next))
}

// restart begins with a file that has not been looked at.
func (l *logFile) restart(first []byte) {
	if l.snap != nil && l.first == nil && first == nil {
		return
	}
	validity, modSeq := uint32(1), store.ModSeq(1)
	if t := parse(first).time; t.Unix() > 1 && t.Unix() < 1<<32 {
		validity = uint32(t.Unix())
	}
	if l.snap != nil && l.snap.Len() > 0 { // while this program runs, both grow in any case
		validity, modSeq = max(validity, l.snap.UIDValidity()+1), l.snap.ModSeq()+1
	}
	l.snap = store.NewSnapshot(l.id, validity, 1, modSeq, nil, nil)
	l.first, l.next, l.last = first, 0, time.Unix(0, 0)
}

// read adds the lines that are complete to the snapshot.
func (l *logFile) read(r io.Reader) error {
	lines := bufio.NewReaderSize(r, maxLine)
	c := store.Changes{Since: l.snap.ModSeq(), Through: l.snap.ModSeq(), UIDNext: l.snap.UIDNext()}
	for {
		line, size, err := readLine(lines)
		if err == io.EOF {
			l.snap = l.snap.With(c)
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		e := parse(line)
		if e.time.IsZero() {
			e.time = l.last
		}
		l.last = e.time
		c.Through++
		row := store.Row{UID: c.UIDNext, ModSeq: c.Through, Created: c.Through, Date: e.time.Unix(), Saved: e.time.Unix(),
			Size: uint32(len(e.render())), Ref: uint64(l.next)}
		if e.level >= "ERROR" && e.level < "ERRORZ" { // and ERROR+4
			row.Flags = store.BitFlagged
		}
		c.Rows, c.UIDNext, l.next = append(c.Rows, row), c.UIDNext+1, l.next+size
	}
}

// Changes knows what happened: lines are only ever added.
func (l *logFile) Changes(ctx context.Context, since store.ModSeq) (store.Changes, error) {
	snap, err := l.Snapshot(ctx)
	if err != nil {
		return store.Changes{}, err
	}
	return store.ChangesOf(snap, since), nil
}

func (l *logFile) Open(_ context.Context, row store.Row) (store.Body, error) {
	f, err := os.Open(l.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrExpunged, err)
	}
	defer f.Close()
	line, _, err := readLine(bufio.NewReader(io.NewSectionReader(f, int64(row.Ref), 1<<62)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrExpunged, err)
	}
	e := parse(line)
	if e.time.IsZero() {
		e.time = row.InternalDate()
	}
	return body{bytes.NewReader(e.render())}, nil
}

type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

// readLine reads a line with its newline, and returns at most maxLine octets of
// it and how long it was; io.EOF for one that has no end yet.
func readLine(r *bufio.Reader) (line []byte, size int64, err error) {
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part[:min(len(part), maxLine-len(line))]...)
		size += int64(len(part))
		if err != bufio.ErrBufferFull {
			return line, size, err
		}
	}
}

// entry is a line of a log.
type entry struct {
	time    time.Time // zero: it does not say
	level   string
	message string
	attrs   map[string]any
	line    []byte
}

// parse reads a line; one that is not JSON is a message as a whole.
func parse(line []byte) entry {
	e := entry{message: string(bytes.TrimSpace(line)), line: line}
	if json.Unmarshal(line, &e.attrs) != nil {
		return e
	}
	text := func(key string) string { s, _ := e.attrs[key].(string); delete(e.attrs, key); return s }
	at, _ := time.Parse(time.RFC3339, text("time"))
	e.time, e.level, e.message = at.UTC().Truncate(time.Second), text("level"), text("msg")
	return e
}

// render makes a message of an entry: always the same octets.
func (e entry) render() []byte {
	var b bytes.Buffer
	subject := strings.TrimSpace(e.level + " " + e.message)
	if r := []rune(subject); len(r) > 100 {
		subject = string(r[:100]) + "…"
	}
	fmt.Fprintf(&b, "From: log <log@localhost>\r\nDate: %s\r\nSubject: %s\r\nMessage-ID: <%x@log.localhost>\r\n",
		e.time.UTC().Format(time.RFC1123Z), mime.QEncoding.Encode("utf-8", subject), sha256.Sum256(e.line))
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	text := quotedprintable.NewWriter(&b) // neither long lines nor bare CR and LF get through it
	fmt.Fprintf(text, "%s\n\n", e.message)
	for _, key := range slices.Sorted(maps.Keys(e.attrs)) {
		fmt.Fprintf(text, "%s: %v\n", key, e.attrs[key])
	}
	_ = text.Close() // a buffer does not fail
	return b.Bytes()
}

// serve runs both servers until ctx ends, and looks for new lines so that
// clients that wait in IDLE learn of them.
func serve(ctx context.Context, st *store.ReadOnlyStore, users *password.Users, imapOn, pop3On net.Listener, every time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				st.Wake()
			case <-ctx.Done():
				return
			}
		}
	}()
	return posta.Run(ctx, posta.On(imapOn, &imap.Server{Store: st, Auth: users, InsecureAuth: true}),
		posta.On(pop3On, &pop3.Server{Store: st, Auth: users, InsecureAuth: true}))
}

func main() {
	login := flag.String("user", "", "`NAME:PASSWORD`")
	imapAddr := flag.String("imap", "127.0.0.1:2143", "`ADDR` for IMAP, without TLS")
	pop3Addr := flag.String("pop3", "127.0.0.1:2110", "`ADDR` for POP3, without TLS")
	flag.Parse()
	name, secret, ok := strings.Cut(*login, ":")
	if !ok || flag.NArg() == 0 {
		log.Fatal("usage: customstore -user NAME:PASSWORD FILE...")
	}
	users := password.Memory()
	if err := users.Set(password.User{Name: name}, secret); err != nil {
		log.Fatal(err)
	}
	imapOn, err := net.Listen("tcp", *imapAddr)
	if err != nil {
		log.Fatal(err)
	}
	pop3On, err := net.Listen("tcp", *pop3Addr)
	if err != nil {
		log.Fatal(err)
	}
	st := store.ReadOnly(openLogs(name, flag.Args()))
	defer st.Close()
	if err := serve(context.Background(), st, users, imapOn, pop3On, time.Second); err != nil {
		log.Print(err)
	}
}
