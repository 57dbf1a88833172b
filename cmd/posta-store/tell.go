package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// teller writes results on standard output, progress on standard error.
type teller struct {
	json           bool
	stdout, stderr io.Writer
	terminal       bool // stderr is
	line           int  // octets of the progress line there
	told           time.Time
}

func newTeller(json bool, stdout, stderr io.Writer) *teller {
	t := &teller{json: json, stdout: stdout, stderr: stderr}
	if f, ok := stderr.(*os.File); ok {
		info, err := f.Stat()
		t.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return t
}

// event is a line of JSON: its kind is the value of "event".
type event map[string]any

// say tells one thing, as text or as JSON.
func (t *teller) say(e event, format string, args ...any) {
	if t.json {
		b, err := json.Marshal(e)
		if err != nil {
			b, _ = json.Marshal(event{"event": "error", "error": err.Error()})
		}
		t.stdout.Write(append(b, '\n'))
		return
	}
	t.endProgress()
	fmt.Fprintf(t.stdout, format+"\n", args...)
}

// fail tells a program why the command failed; people read standard error.
func (t *teller) fail(err error) {
	if t.json {
		t.say(event{"event": "error", "error": err.Error()}, "")
	}
}

// progress tells how far the command is: as JSON once a second, as a line that
// is written again and again if there is a terminal.
func (t *teller) progress(e event, format string, args ...any) {
	every := 100 * time.Millisecond
	if t.json {
		every = time.Second
	}
	if !t.json && !t.terminal || time.Since(t.told) < every {
		return
	}
	t.told = time.Now()
	if t.json {
		e["event"] = "progress"
		t.say(e, "")
		return
	}
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, fmt.Sprintf(format, args...))
	if len(text) > 78 {
		text = strings.ToValidUTF8(text[:78], "")
	}
	fmt.Fprintf(t.stderr, "\r%s%s", text, strings.Repeat(" ", max(t.line-len(text), 0)))
	t.line = len(text)
}

// endProgress clears the line.
func (t *teller) endProgress() {
	if t.line > 0 {
		fmt.Fprintf(t.stderr, "\r%s\r", strings.Repeat(" ", t.line))
		t.line = 0
	}
}

// percent is how far done is of total; empty if that is not known.
func percent(done, total int64) string {
	if total <= 0 {
		return ""
	}
	return fmt.Sprintf("%d %%", min(100*done/total, 100))
}

// octets is a size for people.
func octets(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
