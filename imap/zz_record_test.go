package imap_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestRecord(t *testing.T) {
	name := os.Getenv("RECORD")
	if name == "" {
		return
	}
	b, _ := os.ReadFile(name)
	os.WriteFile("testdata/zz-record.txt", b, 0o600)
	defer os.Remove("testdata/zz-record.txt")
	cfg := dialogueConfig(t, "zz-record")
	type peer struct {
		w interface{ Write([]byte) (int, error) }
		r *bufio.Reader
	}
	conns := map[string]*peer{}
	for _, line := range strings.Split(strings.TrimRight(string(b), "\n"), "\n") {
		i := strings.Index(line, "C: ")
		if i < 0 || i > 2 || strings.HasPrefix(line, "#") {
			fmt.Println("OUT", line)
			continue
		}
		id := line[:i]
		p := conns[id]
		if p == nil {
			c, err := cfg.Dial(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			c.SetDeadline(time.Now().Add(20 * time.Second))
			p = &peer{c, bufio.NewReader(c)}
			conns[id] = p
		}
		fmt.Println("OUT", line)
		fmt.Fprintf(p.w, "%s\r\n", line[i+3:])
		tag := strings.Fields(line[i+3:])[0]
		for {
			l, err := p.r.ReadString('\n')
			if err != nil {
				fmt.Println("OUT ERR", err)
				break
			}
			fmt.Printf("OUT %sS: %s\n", id, strings.TrimSuffix(l, "\r\n"))
			if strings.HasPrefix(l, tag+" ") || strings.HasPrefix(l, "+") {
				break
			}
		}
	}
}
