package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/store"
)

// keywordsName is Dovecot's file of a mailbox's keywords: lines of a number,
// which stands for a letter from a to z, a space, and the keyword.
const keywordsName = "dovecot-keywords"

// maxKeywordsFile bounds what is read of it, in octets.
const maxKeywordsFile = 64 << 10

// keywordFile is what the file says. The zero value is an empty file.
type keywordFile struct {
	names [26]store.Flag
}

// letter is the letter of a keyword, 0 if it has none.
func (k *keywordFile) letter(f store.Flag) byte {
	for i, n := range k.names {
		if n != "" && strings.EqualFold(string(n), string(f)) {
			return 'a' + byte(i)
		}
	}
	return 0
}

// add gives a keyword a letter, if one is left.
func (k *keywordFile) add(f store.Flag) bool {
	for i, n := range k.names {
		if n == "" {
			k.names[i] = f
			return true
		}
	}
	return false
}

// parseKeywords reads the file. Lines that make no sense are skipped, as
// Dovecot does; of two lines for a letter the first counts.
func parseKeywords(data []byte) keywordFile {
	var k keywordFile
	for line := range bytes.Lines(data) {
		number, name, ok := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		n, err := strconv.ParseUint(number, 10, 8)
		f := store.Flag(name)
		if !ok || err != nil || n >= uint64(len(k.names)) || k.names[n] != "" || !store.ValidKeyword(f) || k.letter(f) != 0 {
			continue
		}
		k.names[n] = f
	}
	return k
}

func (k *keywordFile) encode() []byte {
	var b []byte
	for i, n := range k.names {
		if n != "" {
			b = fmt.Appendf(b, "%d %s\n", i, n)
		}
	}
	return b
}

// readKeywords reads the file of a mailbox's folder; none is an empty one.
func readKeywords(dir string) (keywordFile, error) {
	data, err := readSmall(filepath.Join(dir, keywordsName), maxKeywordsFile)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return keywordFile{}, err
	}
	return parseKeywords(data), nil
}

// readSmall reads a regular file up to a limit; what is beyond is left out.
func readSmall(name string, limit int64) ([]byte, error) {
	f, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%w: %s is no regular file", store.ErrCorrupt, filepath.Base(name)))
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// Dovecot's dot-lock: how long to wait for another's, and when one is stale.
const (
	dotlockWait  = 2 * time.Second
	dotlockStale = 2 * time.Minute
)

// addKeywords gives letters to keywords that have none, as far as there are
// any, under the lock that Dovecot takes too. It returns the file as it is
// then; where the lock cannot be had the keywords go without letters.
func addKeywords(dir string, want []store.Flag) (keywordFile, error) {
	k, err := readKeywords(dir)
	if err != nil || !k.lacks(want) {
		return k, err
	}
	name := filepath.Join(dir, keywordsName)
	lock := name + ".lock"
	f, err := dotlock(lock)
	if err != nil {
		if errors.Is(err, store.ErrInUse) {
			err = nil
		}
		return k, err
	}
	defer f.Close()
	if k, err = readKeywords(dir); err == nil && k.lacks(want) {
		for _, w := range want {
			if k.letter(w) == 0 {
				k.add(w)
			}
		}
		if _, err = f.Write(k.encode()); err == nil {
			err = f.Sync()
		}
		if err == nil {
			if err = os.Rename(lock, name); err == nil {
				return k, syncDir(dir)
			}
		}
	}
	return k, errors.Join(err, os.Remove(lock))
}

// lacks reports whether one of the keywords could still get a letter.
func (k *keywordFile) lacks(want []store.Flag) bool {
	free := false
	for _, n := range k.names {
		free = free || n == ""
	}
	if !free {
		return false
	}
	for _, w := range want {
		if k.letter(w) == 0 {
			return true
		}
	}
	return false
}

// dotlock creates a lock file. ErrInUse: another kept it.
func dotlock(name string) (*os.File, error) {
	for end := time.Now().Add(dotlockWait); ; {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
		if info, err := os.Lstat(name); err == nil && time.Since(info.ModTime()) > dotlockStale {
			os.Remove(name)
			continue
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("%w: %s", store.ErrInUse, filepath.Base(name))
		}
		time.Sleep(10 * time.Millisecond) // another process: nothing to wait on
	}
}
