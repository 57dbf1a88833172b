package testscript

import (
	"fmt"
	"slices"
	"time"
)

// awaited is a response that may come any time in a block: lines, each but the
// last with a literal behind it.
type awaited struct {
	conn     string
	patterns []pattern
	literals []string
}

// anyOrder reads a block and as many responses as it has. A line is the first
// response left that is this text, or else the first whose expression matches.
func (d *dialogue) anyOrder() error {
	left, err := d.block()
	if err != nil {
		return err
	}
	for len(left) > 0 {
		c, err := d.conn(left[0].conn)
		if err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(d.cfg.Timeout))
		got, err := c.line()
		if err != nil {
			return fmt.Errorf("%d responses of the block are missing, the first %q: %w", len(left), left[0].patterns[0].text, err)
		}
		i := d.find(left, left[0].conn, got)
		if i < 0 {
			return fmt.Errorf("not in the block, or once too often: %q", got)
		}
		if err := d.rest(c, left[i]); err != nil {
			return err
		}
		left = slices.Delete(left, i, i+1)
	}
	return nil
}

// block reads the lines up to END.
func (d *dialogue) block() ([]awaited, error) {
	var all []awaited
	more := false // the line goes on with the response before, behind its literal
	for {
		line, ok := d.next()
		if !ok {
			return nil, fmt.Errorf("ANY without END")
		}
		if line == "END" {
			break
		}
		m := directive.FindStringSubmatch(line)
		if m == nil || m[2] != "S:" && m[2] != "S~" {
			return nil, fmt.Errorf("%s: only S: and S~ have no order", line)
		}
		arg, lit, err := d.counted(m[2], d.substitute(m[2], m[3]))
		if err != nil {
			return nil, err
		}
		p, err := newPattern(m[2], arg)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		if !more {
			all = append(all, awaited{conn: m[1]})
		}
		a := &all[len(all)-1]
		a.patterns = append(a.patterns, p)
		if more = lit != nil; more {
			a.literals = append(a.literals, *lit)
		}
	}
	if more || len(all) == 0 {
		return nil, fmt.Errorf("the block is empty, or ends with a literal")
	}
	return all, nil
}

// find is which response of a connection begins with a line; -1: none.
func (d *dialogue) find(left []awaited, conn, line string) int {
	for _, exact := range []bool{true, false} {
		for i, a := range left {
			if p := a.patterns[0]; a.conn == conn && exact == (p.expr == nil) && p.matches(line, d.vars) {
				return i
			}
		}
	}
	return -1
}

// rest reads what follows the first line of a response.
func (d *dialogue) rest(c *peer, a awaited) error {
	for i, lit := range a.literals {
		if err := c.octets(lit); err != nil {
			return err
		}
		got, err := c.line()
		if err != nil {
			return err
		}
		if p := a.patterns[i+1]; !p.matches(got, d.vars) {
			return fmt.Errorf("want %q\ngot  %q", p.text, got)
		}
	}
	return nil
}
