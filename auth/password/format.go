package password

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of the file.
const (
	maxFile = 64 << 20 // octets
	maxLine = 64 << 10
)

// magic begins the file; the word after it is the version.
const magic = "posta-users"

// FormatError says where and why a file cannot be understood.
type FormatError struct {
	Path   string
	Line   int // from 1
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("password: %s:%d: %s", e.Path, e.Line, e.Reason)
}

// ErrTooBig: the file is larger than 64 MiB.
var ErrTooBig = errors.New("password: file is too big")

// document is a file's content: what it means, and its lines to be written
// back.
type document struct {
	secret []byte
	lines  []string // without the header
	users  map[string]*entry
	list   []*entry     // in any order: see who.like
	costs  census[cost] // of the users' passwords
	scram  census[scramCost]
	keyed  map[string]int // how many users have all their keys for a hash
}

// entry is one user. It is not changed once it is in a document.
type entry struct {
	User
	text     string // the line
	at       int    // in the document's list
	line     int    // in its lines, or near: see indexOf
	hash     stored
	keys     keys
	apps     []*app
	second   *second  // nil: none
	recovery [][]byte // hashes of recovery codes
}

// senders are those given, or else the user's own address.
func (e *entry) senders(login string) []string {
	if e.Senders == nil && strings.Contains(login, "@") {
		return []string{login}
	}
	return e.Senders
}

func newDocument() *document {
	return &document{
		secret: randomBytes(32), users: make(map[string]*entry), keyed: make(map[string]int),
	}
}

// parse reads a file. A file without any user may lack the header.
func parse(path string, data []byte) (*document, error) {
	d := newDocument()
	d.secret = nil
	header := false
	n := 0
	bad := func(format string, args ...any) (*document, error) {
		return nil, &FormatError{path, n, fmt.Sprintf(format, args...)}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	for len(data) > 0 {
		raw, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		n++
		line := strings.TrimRightFunc(string(raw), unicode.IsSpace)
		if len(line) > maxLine || !utf8.ValidString(line) {
			return bad("longer than %d octets or not UTF-8", maxLine)
		}
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
			d.lines = append(d.lines, line)
		case !header:
			var err error
			if d.secret, err = parseHeader(trimmed); err != nil {
				return bad("%v", err)
			}
			header = true
		default:
			e, err := parseEntry(trimmed)
			if err != nil {
				return bad("%v", err)
			}
			if len(d.secret) == 0 && (len(e.apps) > 0 || len(e.recovery) > 0) {
				return bad("app passwords and recovery codes need the secret of the first line with which they were made")
			}
			if d.users[e.Name] != nil {
				return bad("user %q is there twice", e.Name)
			}
			d.users[e.Name] = e
			e.line, d.lines = len(d.lines), append(d.lines, e.text)
			e.at, d.list = len(d.list), append(d.list, e)
			d.count(e, 1)
		}
	}
	d.settle()
	return d, nil
}

func parseHeader(line string) (secret []byte, err error) {
	fields := strings.Fields(line)
	if fields[0] != magic || len(fields) < 2 {
		return nil, fmt.Errorf("the first line must be %q", magic+" 1")
	}
	if fields[1] != "1" {
		return nil, fmt.Errorf("version %.16q is not known, only 1", fields[1])
	}
	for _, f := range fields[2:] {
		value, ok := strings.CutPrefix(f, "secret=")
		if !ok || secret != nil {
			return nil, fmt.Errorf("unexpected %.32q", f)
		}
		if secret, err = base64.StdEncoding.DecodeString(value); err != nil || len(secret) < 16 {
			return nil, errors.New("secret must be the base64 of at least 16 octets")
		}
	}
	return secret, nil
}

// parseEntry reads one user's line.
func parseEntry(line string) (*entry, error) {
	fields := strings.Fields(line)
	name, err := canonical(fields[0])
	if err != nil {
		return nil, err
	}
	e := &entry{User: User{Name: name, Account: name}, text: line}
	seen := make(map[string]bool)
	for _, f := range fields[1:] {
		key, value, ok := strings.Cut(f, "=")
		if !ok || seen[key] {
			return nil, fmt.Errorf("%.32q has no value or comes twice", key)
		}
		seen[key] = true
		switch key {
		case "password":
			e.hash, err = parseStored(value)
		case "scram":
			e.keys, err = parseKeys(value, ",")
		case "apps":
			e.apps, err = parseApps(value)
		case "apps-only":
			if e.AppsOnly = value == "yes"; !e.AppsOnly {
				err = errors.New(`must be "yes" or left out`)
			}
		case "totp":
			e.second, err = parseSecond(value)
		case "recovery":
			e.recovery, err = parseRecovery(value)
		case "account":
			if e.Account, err = unescape(value); err == nil && e.Account == "" {
				err = errors.New("must not be empty")
			}
		case "senders":
			if e.Senders, err = parseList(value); err == nil {
				e.Senders, err = canonicalSenders(e.Senders)
			}
		case "groups":
			e.Groups, err = parseList(value)
		default:
			return nil, fmt.Errorf("%.32q is not known", key)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	if !seen["password"] {
		return nil, errors.New("no password")
	}
	return e, nil
}

// encodeEntry writes one user's line; fields at their default are left out.
func encodeEntry(e *entry) string {
	var b strings.Builder
	b.WriteString(e.Name + " password=" + e.hash.text)
	if len(e.keys) > 0 {
		b.WriteString(" scram=" + encodeKeys(e.keys, ","))
	}
	if e.Account != e.Name {
		b.WriteString(" account=" + escape(e.Account))
	}
	if e.Senders != nil {
		b.WriteString(" senders=" + encodeList(e.Senders))
	}
	if e.Groups != nil {
		b.WriteString(" groups=" + encodeList(e.Groups))
	}
	if e.AppsOnly {
		b.WriteString(" apps-only=yes")
	}
	for i, a := range e.apps {
		b.WriteString([]string{" apps=", ","}[min(i, 1)] + encodeApp(a))
	}
	if e.second != nil {
		b.WriteString(" totp=" + e.second.encode())
	}
	for i, r := range e.recovery {
		b.WriteString([]string{" recovery=", ","}[min(i, 1)] + base64.StdEncoding.EncodeToString(r))
	}
	return b.String()
}

// encode writes the file.
func (d *document) encode() []byte {
	var b bytes.Buffer
	b.WriteString(magic + " 1")
	if len(d.secret) > 0 {
		b.WriteString(" secret=" + base64.StdEncoding.EncodeToString(d.secret))
	}
	b.WriteByte('\n')
	for _, l := range d.lines {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// put adds a user or replaces one, on the same line.
func (d *document) put(e *entry) {
	e.text = encodeEntry(e)
	if old := d.users[e.Name]; old != nil {
		e.line = d.indexOf(old)
		d.lines[e.line] = e.text
		e.at, d.list[old.at] = old.at, e
		d.count(old, -1)
	} else {
		e.line, d.lines = len(d.lines), append(d.lines, e.text)
		e.at, d.list = len(d.list), append(d.list, e)
	}
	d.users[e.Name] = e
	d.count(e, 1)
	d.settle()
}

// indexOf finds a user's line, which has moved if others were removed: to look
// through all for each of many users takes minutes in a large file.
func (d *document) indexOf(e *entry) int {
	if e.line < len(d.lines) && d.lines[e.line] == e.text {
		return e.line
	}
	return slices.Index(d.lines, e.text)
}

// drop removes a user.
func (d *document) drop(e *entry) {
	i := d.indexOf(e)
	d.lines = slices.Delete(d.lines, i, i+1)
	delete(d.users, e.Name)
	last := len(d.list) - 1
	d.list[e.at] = d.list[last]
	d.list[e.at].at = e.at
	d.list[last], d.list = nil, d.list[:last]
	d.count(e, -1)
	d.settle()
}

// count adds a user to the counts, or takes one out.
func (d *document) count(e *entry, n int) {
	d.costs.add(e.hash.cost, n)
	if k, ok := e.shown("SHA-256"); ok {
		d.scram.add(scramCost{k.Iterations, len(k.Salt)}, n)
	}
	for _, s := range scramSizes {
		_, all := e.keys[s.hash]
		all = all || e.AppsOnly
		for _, a := range e.apps {
			_, has := a.keys[s.hash]
			all = all && has
		}
		if all {
			d.keyed[s.hash] += n
		}
	}
}

// settle is called when all are counted.
func (d *document) settle() {
	d.costs.settle()
	d.scram.settle()
}

// canonicalSenders prepares the domains, which are compared as A-labels.
func canonicalSenders(list []string) ([]string, error) {
	out := make([]string, 0, len(list))
	for _, s := range list {
		at := strings.LastIndexByte(s, '@')
		if at < 0 {
			return nil, fmt.Errorf("sender %.64q has no domain", s)
		}
		domain, err := canonicalDomain(s[at+1:])
		if err != nil {
			return nil, fmt.Errorf("sender %.64q", s)
		}
		out = append(out, s[:at+1]+domain)
	}
	return out, nil
}

func parseList(value string) ([]string, error) {
	list := []string{}
	if value == "" {
		return list, nil
	}
	for part := range strings.SplitSeq(value, ",") {
		s, err := unescape(part)
		if err != nil || s == "" {
			return nil, errors.New("empty or badly written element")
		}
		list = append(list, s)
	}
	return list, nil
}

func encodeList(list []string) string {
	var parts []string
	for _, s := range list {
		parts = append(parts, escape(s))
	}
	return strings.Join(parts, ",")
}

// parseApps and parseRecovery are lists without escapes of their own.
func parseApps(value string) ([]*app, error) {
	var list []*app
	for part := range strings.SplitSeq(value, ",") {
		a, err := parseApp(part)
		if err != nil {
			return nil, err
		}
		if len(list) >= MaxApps || slices.ContainsFunc(list, func(b *app) bool { return b.ID == a.ID }) {
			return nil, fmt.Errorf("more than %d, or %s twice", MaxApps, a.ID)
		}
		list = append(list, a)
	}
	return list, nil
}

func parseRecovery(value string) (list [][]byte, err error) {
	for part := range strings.SplitSeq(value, ",") {
		sum, err := base64.StdEncoding.Strict().DecodeString(part)
		if err != nil || len(sum) != sha256.Size || len(list) >= recoveryCodes {
			return nil, errors.New("recovery code")
		}
		list = append(list, sum)
	}
	return list, nil
}

const hexDigits = "0123456789ABCDEF"

// escape writes what would be misread as % and two digits for each octet.
func escape(s string) string {
	var b strings.Builder
	for i, r := range s {
		if r != '%' && r != ',' && r != ';' && !unicode.IsSpace(r) && !unicode.IsControl(r) {
			b.WriteRune(r)
			continue
		}
		for _, c := range []byte(s[i : i+utf8.RuneLen(r)]) {
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errors.New("% without two digits")
		}
		hi, lo := strings.IndexByte(hexDigits, upper(s[i+1])), strings.IndexByte(hexDigits, upper(s[i+2]))
		if hi < 0 || lo < 0 {
			return "", errors.New("% without two digits")
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	if !utf8.ValidString(b.String()) {
		return "", errors.New("not UTF-8")
	}
	return b.String(), nil
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'f' {
		return c - 0x20
	}
	return c
}
