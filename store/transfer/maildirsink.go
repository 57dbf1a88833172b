package transfer

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/store"
)

// Open implements Sink.
func (d Maildir) Open(ctx context.Context, f Folder, at string) (FolderSink, error) {
	dir := d.Path
	if f.Name != store.Inbox {
		folder := maildirFolder(f.Name)
		if len(folder) > store.MaxLevelOctets-1 {
			// Letters of other alphabets are longer in modified UTF-7.
			folder = hashed(folder, store.MaxLevelOctets-11)
		}
		dir = filepath.Join(d.Path, "."+folder)
	}
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	if dir != d.Path {
		if err := os.WriteFile(filepath.Join(dir, "maildirfolder"), nil, 0o600); err != nil {
			return nil, err
		}
	}
	if err := d.subscribe(f); err != nil {
		return nil, err
	}
	s := &maildirSink{dir: dir, keywords: readKeywords(filepath.Join(dir, keywordsFile)), has: make(map[[20]byte]struct{})}
	s.seq, _ = strconv.Atoi(at)
	for _, sub := range []string{"new", "cur"} {
		err := eachFile(filepath.Join(dir, sub), func(name string) bool {
			if key, ok := tokenOf(name); ok {
				s.has[key] = struct{}{}
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// subscribe adds a folder to the file of subscriptions.
func (d Maildir) subscribe(f Folder) error {
	name := filepath.Join(d.Path, subscriptionsFile)
	if !f.Subscribed || readSubscriptions(name)[f.Name] {
		return nil
	}
	b := smallFile(name)
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	line := maildirFolder(f.Name)
	if strings.HasPrefix(string(b), "V\t2\n") {
		line = strings.ReplaceAll(line, ".", "\t")
	}
	return writeFile(name, append(b, line+"\n"...))
}

// maildirSink writes into one folder. A file's name has the internal date, a
// number that grows, and the token: DATE.QNUMBER_TOKEN.posta,S=SIZE:2,FLAGS.
type maildirSink struct {
	dir      string
	seq      int
	keywords []store.Flag
	has      map[[20]byte]struct{} // the tokens of what is there
	done     []func()
}

const maildirHost = ".posta"

// tokenOf is the part of the token in a file's name that says which message it
// is.
func tokenOf(name string) (key [20]byte, ok bool) {
	before, _, ok := strings.Cut(name, maildirHost)
	if !ok || len(before) < tokenLen+1 || before[len(before)-tokenLen-1] != '_' {
		return key, false
	}
	return tokenKey(before[len(before)-tokenLen:])
}

const tokenLen = 42

func tokenKey(token string) (key [20]byte, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < len(key) {
		return key, false
	}
	return [20]byte(b[len(b)-len(key):]), true
}

func (s *maildirSink) Put(ctx context.Context, m *Message, done func(Filed)) error {
	tmp, size, err := s.write(m)
	if err != nil {
		return err
	}
	token := m.Token()
	key, _ := tokenKey(token)
	s.seq++
	filed := Filed{Position: strconv.Itoa(s.seq)}
	if _, filed.Duplicate = s.has[key]; filed.Duplicate {
		err = os.Remove(tmp)
	} else {
		var letters string
		letters, filed.Altered, err = s.letters(m.Flags)
		sep := ":2,"
		if runtime.GOOS == "windows" {
			sep = ";2,"
		}
		name := fmt.Sprintf("%d.Q%07d_%s%s,S=%d%s%s", max(m.Date.Unix(), 0), s.seq, token, maildirHost, size, sep, letters)
		if err == nil {
			err = os.Rename(tmp, filepath.Join(s.dir, "cur", name))
		}
		s.has[key] = struct{}{}
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	s.done = append(s.done, func() { done(filed) })
	if len(s.done) < batchMessages {
		return nil
	}
	return s.Flush(ctx)
}

// write writes a message to a file of its own, durably.
func (s *maildirSink) write(m *Message) (name string, size int64, err error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), fmt.Sprintf("%d.*%s", time.Now().Unix(), maildirHost))
	if err != nil {
		return "", 0, err
	}
	w := bufio.NewWriterSize(f, 32<<10)
	l := &lfWriter{w: w}
	_, err = io.Copy(l, m.Body)
	setDate := func() error {
		if m.Date.IsZero() {
			return nil
		}
		err := os.Chtimes(f.Name(), time.Time{}, m.Date)
		if errors.Is(err, fs.ErrInvalid) {
			return nil // a date that the system cannot keep
		}
		return err
	}
	for _, step := range []func() error{l.end, w.Flush, setDate, f.Sync} {
		if err == nil {
			err = step()
		}
	}
	if err == nil {
		size, err = f.Seek(0, io.SeekCurrent)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return f.Name(), size, err
}

// letters gives the letters for flags, and keeps the names of new keywords
// before anything means them.
func (s *maildirSink) letters(flags []store.Flag) (letters string, lost bool, err error) {
	letters, table, lost := toLetters(flags, s.keywords)
	if !slices.Equal(table, s.keywords) {
		var b []byte
		for i, k := range table {
			if k != "" {
				b = fmt.Appendf(b, "%d %s\n", i, k)
			}
		}
		if err := writeFile(filepath.Join(s.dir, keywordsFile), b); err != nil {
			return "", false, err
		}
		s.keywords = table
	}
	return letters, lost, nil
}

func (s *maildirSink) Flush(context.Context) error {
	if len(s.done) == 0 {
		return nil
	}
	if err := syncDir(filepath.Join(s.dir, "cur")); err != nil {
		return err
	}
	done := s.done
	s.done = nil
	for _, d := range done {
		d()
	}
	return nil
}

func (s *maildirSink) Close(bool) error { return nil }
