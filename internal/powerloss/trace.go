// Package powerloss turns a recording of what a program did to its files into
// the states in which a loss of power could have left them.
//
// Record runs a program under strace; Walk follows the recording and stops
// before every sync, when most is at stake. There the files are what has been
// synced, plus any choice of what has not: each write, truncation, creation,
// renaming and removal may have reached the disk or not, and of a write any of
// its sectors. Nothing reorders what was synced. Names are durable when their
// folder was synced, and not before, whatever some file systems promise.
//
// A program is one process, of any number of threads. What is not modelled is
// an error: memory mapped for writing (but for SQLite's -shm, whose content
// need not survive), asynchronous input and output, copying inside the kernel,
// and files both read and written through the file's own position.
package powerloss

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// calls are the system calls that are recorded. A question mark: not on all
// machines.
const calls = "openat,?open,?creat,close,dup,?dup2,dup3,fcntl,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,fallocate," +
	"fsync,fdatasync,sync_file_range,renameat,?renameat2,?rename,unlinkat,?unlink,mkdirat,?mkdir,?rmdir,linkat,?link,symlinkat,?symlink," +
	"mmap,msync,copy_file_range,sendfile,splice,io_uring_setup,chdir"

// ErrNoStrace means that strace is not installed.
var ErrNoStrace = errors.New("powerloss: strace is not installed")

// Record runs cmd to its end under strace and returns what it did. The
// program's output is recorded too: it may go nowhere. A program that fails is
// an error.
func Record(ctx context.Context, cmd *exec.Cmd) ([]Call, error) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		return nil, ErrNoStrace
	}
	f, err := os.CreateTemp("", "posta-trace-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	args := []string{strace, "-f", "-xx", "-qqq", "-s", strconv.Itoa(maxData), "-o", f.Name(), "-e", "trace=" + calls, "-e", "signal=none", "--"}
	run := exec.CommandContext(ctx, strace)
	run.Args = append(args, append([]string{cmd.Path}, cmd.Args[1:]...)...)
	run.Env, run.Dir, run.Stdout, run.Stderr = cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr
	if err := run.Run(); err != nil {
		return nil, fmt.Errorf("powerloss: %s: %w", cmd.Path, err)
	}
	return ParseTrace(f)
}

// Call is one system call that may have changed something.
type Call struct {
	Name string
	Args []string // as strace writes them
	Ret  int64    // -1: it failed
	// Begin and End order the beginnings and ends of all calls. End is 0 if
	// the program did not live to see it.
	Begin, End int
}

// Limits of a trace, so that a damaged one cannot take all memory.
const (
	maxData = 16 << 20 // octets of one write
	maxLine = 4*maxData + 4096
	maxFile = 256 << 20 // octets of one file
)

// ErrTrace means that a trace is not what strace writes, or shows what is not
// modelled.
var ErrTrace = errors.New("powerloss: trace not understood")

// ParseTrace reads what strace -f -xx wrote to a file.
func ParseTrace(r io.Reader) ([]Call, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	var list []Call
	open := make(map[string]unfinished) // by process
	for n := 1; ; n++ {
		line, err := readLine(in)
		if err == io.EOF {
			return list, nil
		}
		if err == nil {
			list, err = parseLine(list, open, n, line)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
}

// unfinished is a call whose end is on another line.
type unfinished struct {
	text string
	at   int // in the list
}

func readLine(in *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if line = append(line, part...); len(line) > maxLine {
			return "", fmt.Errorf("%w: line above %d octets", ErrTrace, maxLine)
		}
		switch {
		case err == nil:
			return string(line[:len(line)-1]), nil
		case err == io.EOF && len(line) > 0:
			return string(line), nil
		case err != bufio.ErrBufferFull:
			return "", err
		}
	}
}

func parseLine(list []Call, open map[string]unfinished, n int, line string) ([]Call, error) {
	pid, text, ok := strings.Cut(line, " ")
	text = strings.TrimLeft(text, " ")
	if _, err := strconv.ParseUint(pid, 10, 32); err != nil || !ok {
		return nil, fmt.Errorf("%w: %.40q", ErrTrace, line)
	}
	if strings.HasPrefix(text, "---") || strings.HasPrefix(text, "+++") {
		return list, nil // a signal, or the end of a thread
	}
	at := len(list)
	if rest, ok := strings.CutPrefix(text, "<... "); ok {
		_, rest, ok := strings.Cut(rest, " resumed>")
		u, begun := open[pid]
		if !ok || !begun {
			return nil, fmt.Errorf("%w: %.40q ends what did not begin", ErrTrace, text)
		}
		delete(open, pid)
		text, at = u.text+rest, u.at
	} else {
		list = append(list, Call{Begin: n})
	}
	if u, ok := strings.CutSuffix(text, "<unfinished ...>"); ok {
		open[pid] = unfinished{strings.TrimRight(u, " "), at}
		return list, list[at].parse(u+")", "") // what is known so far
	}
	i := strings.LastIndex(text, " = ")
	if i < 0 {
		return nil, fmt.Errorf("%w: %.40q has no result", ErrTrace, text)
	}
	list[at].End = n
	return list, list[at].parse(strings.TrimRight(text[:i], " "), text[i+3:])
}

// parse takes "name(args)" and the result apart.
func (c *Call) parse(text, result string) error {
	name, args, _ := strings.Cut(text, "(")
	args, ok := strings.CutSuffix(args, ")")
	if !ok {
		return fmt.Errorf("%w: %.40q", ErrTrace, text)
	}
	c.Name, c.Args = name, splitArgs(args)
	result, _, _ = strings.Cut(result, " ")
	switch {
	case result == "": // to come
		return nil
	case result == "?":
		c.End = 0
		return nil
	}
	var err error
	if c.Ret, err = strconv.ParseInt(result, 0, 64); err != nil {
		if _, err = strconv.ParseUint(result, 0, 64); err != nil { // an address
			return fmt.Errorf("%w: result %.40q", ErrTrace, result)
		}
	}
	return nil
}

// splitArgs cuts at the commas that are in no string, list or structure.
func splitArgs(s string) []string {
	var args []string
	depth, quoted, from := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted // quotes inside are \x22
		case quoted:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case c == ',' && depth == 0:
			args = append(args, strings.TrimSpace(s[from:i]))
			from = i + 1
		}
	}
	if last := strings.TrimSpace(s[from:]); last != "" || len(args) > 0 {
		args = append(args, last)
	}
	return args
}

// arg is argument i; "" if there is none.
func (c *Call) arg(i int) string {
	if i >= len(c.Args) {
		return ""
	}
	return c.Args[i]
}

func (c *Call) number(i int) (int64, error) {
	n, err := strconv.ParseInt(c.arg(i), 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: argument %d is %.40q", ErrTrace, c.Name, i, c.arg(i))
	}
	return n, nil
}

// flag reports whether argument i names a constant.
func (c *Call) flag(i int, name string) bool {
	for f := range strings.SplitSeq(c.arg(i), "|") {
		if f == name {
			return true
		}
	}
	return false
}

// data is argument i, a string or a list of them.
func (c *Call) data(i int) ([]byte, error) {
	s := c.arg(i)
	if !strings.HasPrefix(s, "[") {
		return unquote(s)
	}
	var all []byte
	for {
		_, rest, ok := strings.Cut(s, "iov_base=")
		if !ok {
			return all, nil
		}
		end := strings.Index(rest, ", iov_len=")
		if end < 0 {
			return nil, fmt.Errorf("%w: %.40q", ErrTrace, rest)
		}
		part, err := unquote(rest[:end])
		if err != nil {
			return nil, err
		}
		all, s = append(all, part...), rest[end:]
	}
}

// unquote reads "\x41\x42…". A string that was cut is an error.
func unquote(s string) ([]byte, error) {
	bad := fmt.Errorf("%w: %.40q is not a whole string", ErrTrace, s)
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return nil, bad
	}
	s = s[1 : len(s)-1]
	if len(s)%4 != 0 {
		return nil, bad
	}
	out := make([]byte, 0, len(s)/4)
	for ; s != ""; s = s[4:] {
		hi, lo := hexDigit(s[2]), hexDigit(s[3])
		if s[0] != '\\' || s[1] != 'x' || hi < 0 || lo < 0 {
			return nil, bad
		}
		out = append(out, byte(hi<<4|lo))
	}
	return out, nil
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
