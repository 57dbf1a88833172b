// Command smtpload compares the processor time that servers need for a
// message and for a MiB of DATA: smtpnull made of Posta, smtpnull made of
// go-smtp, and Postfix's smtp-sink, under the load of Postfix's smtp-source,
// in turns. It runs in the folder of the module bench and needs Postfix's two
// programs installed; no Postfix has to run.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// load is one way of calling smtp-source.
type load struct {
	name     string
	sessions int
	messages int
	size     int
}

// server is one program under load; its arguments contain ADDR.
type server struct {
	name string
	argv []string
}

func main() {
	rounds := flag.Int("rounds", 5, "how often each server is measured; medians are printed")
	small := flag.Int("small", 20000, "messages of 4 KiB in a round")
	big := flag.Int("big", 500, "messages of 1 MiB in a round")
	source := flag.String("source", "smtp-source", "`path` of Postfix's smtp-source")
	sink := flag.String("sink", "smtp-sink", "`path` of Postfix's smtp-sink")
	user := flag.String("user", "nobody", "`user` that smtp-sink becomes, which it wants when run by root")
	flag.Parse()
	dir, err := os.MkdirTemp("", "smtpload")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	null := filepath.Join(dir, "smtpnull")
	if out, err := exec.Command("go", "build", "-o", null, "./smtpnull").CombinedOutput(); err != nil {
		log.Fatalf("building smtpnull: %v\n%s", err, out)
	}
	servers := []server{
		{"posta", []string{null, "-impl", "posta", "-listen", "ADDR"}},
		{"go-smtp", []string{null, "-impl", "go-smtp", "-listen", "ADDR"}},
		{"smtp-sink", []string{*sink, "-u", *user, "ADDR", "100"}},
	}
	for _, l := range []load{{"4 KiB message", 20, *small, 4096}, {"MiB of DATA", 4, *big, 1 << 20}} {
		report(l, measure(l, servers, *source, *rounds))
	}
}

// result is what one server needed for one message.
type result struct{ cpu, user, system, wall time.Duration }

// measure lets the servers take turns, so that what else the machine does
// hits all of them.
func measure(l load, servers []server, source string, rounds int) map[string][]result {
	results := make(map[string][]result)
	for range rounds {
		for _, s := range servers {
			r, err := run(l, s, source)
			if err != nil {
				log.Fatalf("%s: %v", s.name, err)
			}
			results[s.name] = append(results[s.name], r)
		}
	}
	return results
}

// run starts a server, loads it and ends it. Its processor time is that of the
// whole process, start included.
func run(l load, s server, source string) (result, error) {
	addr, err := freeAddr()
	if err != nil {
		return result{}, err
	}
	argv := slices.Clone(s.argv)
	for i, a := range argv {
		argv[i] = strings.ReplaceAll(a, "ADDR", addr)
	}
	srv := exec.Command(argv[0], argv[1:]...)
	srv.Stderr = os.Stderr
	if err := srv.Start(); err != nil {
		return result{}, err
	}
	err = await(addr)
	began := time.Now()
	if err == nil {
		cmd := exec.Command(source, "-d", "-s", strconv.Itoa(l.sessions), "-m", strconv.Itoa(l.messages),
			"-l", strconv.Itoa(l.size), "-f", "a@example.com", "-t", "b@example.org", "inet:"+addr)
		cmd.Stderr = os.Stderr
		err = cmd.Run()
	}
	wall := time.Since(began)
	_ = srv.Process.Signal(os.Interrupt)
	_ = srv.Wait()
	n := time.Duration(l.messages)
	user, system := srv.ProcessState.UserTime()/n, srv.ProcessState.SystemTime()/n
	return result{user + system, user, system, wall / n}, err
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// await waits until the server accepts connections.
func await(addr string) error {
	var err error
	for range 500 {
		var c net.Conn
		if c, err = net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// report prints medians and ratios.
func report(l load, results map[string][]result) {
	median := make(map[string]result)
	for name, list := range results {
		slices.SortFunc(list, func(a, b result) int { return int(a.cpu - b.cpu) })
		median[name] = list[len(list)/2]
	}
	fmt.Printf("processor time per %s (-s %d -m %d -l %d), medians of %d\n", l.name, l.sessions, l.messages, l.size, len(results["posta"]))
	ours := median["posta"]
	for _, name := range []string{"posta", "go-smtp", "smtp-sink"} {
		m := median[name]
		fmt.Printf("  %-10s %10v  (user %v, system %v), %.0f messages/s; posta/%s %.2f\n",
			name, m.cpu, m.user, m.system, 1/m.wall.Seconds(), name, float64(ours.cpu)/float64(m.cpu))
	}
}
