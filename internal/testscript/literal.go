package testscript

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// counted replaces {#} or {#+} at the end of a line by the size of the literal
// in the lines that follow; text is nil where the line ends otherwise.
func (d *dialogue) counted(kind, arg string) (line string, text *string, err error) {
	plus := ""
	rest, ok := strings.CutSuffix(arg, "{#}")
	if !ok {
		if rest, ok = strings.CutSuffix(arg, "{#+}"); !ok {
			return arg, nil, nil
		}
		plus = "+"
	}
	lit, err := d.literal()
	if err != nil {
		return arg, nil, err
	}
	size := "{" + strconv.Itoa(len(lit)) + plus + "}"
	if kind != "C:" && kind != "S:" {
		size = `\` + size[:len(size)-1] + `\}`
	}
	return rest + size, &lit, nil
}

// literal reads the L lines that come next.
func (d *dialogue) literal() (string, error) {
	var b strings.Builder
	for ; d.at < len(d.lines); d.at++ {
		line := strings.TrimRight(d.lines[d.at], "\r")
		switch {
		case line == "L:":
			b.WriteString("\r\n")
		case strings.HasPrefix(line, "L: "):
			b.WriteString(d.substitute("L:", line[3:]) + "\r\n")
		case strings.HasPrefix(line, "L- "):
			s, err := strconv.Unquote(d.substitute("L-", line[3:]))
			if err != nil {
				return "", fmt.Errorf("%s: %w", line, err)
			}
			b.WriteString(s)
		default:
			return b.String(), nil
		}
	}
	return b.String(), nil
}

// send sends a line and the literal behind it, if there is one.
func (d *dialogue) send(c *peer, line string) error {
	line, lit, err := d.counted("C:", line)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(c, line+"\r\n"); err != nil || lit == nil {
		return err
	}
	if !strings.HasSuffix(line, "+}") {
		switch got, err := c.line(); {
		case err != nil:
			return err
		case !strings.HasPrefix(got, "+"):
			return fmt.Errorf("the literal is not wanted: %q", got)
		}
	}
	_, err = io.WriteString(c, *lit)
	return err
}
