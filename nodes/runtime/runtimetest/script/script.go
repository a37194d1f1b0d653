// Package script is the small language of the program that runtime tests run in their containers. A real program
// (runtimetest/testdata/prog) and the fake runtime both understand it.
//
//	/prog print hello sleep 10ms eprint oops exit 3
//
// runs its steps one after another and ends with code 0 after the last. On SIGTERM, SIGINT, SIGHUP and SIGUSR1 it ends
// with 128 and the signal's number.
package script

import (
	"fmt"
	"strconv"
	"time"
)

// A Step is one verb of a script and its argument.
type Step struct {
	Verb string
	Text string        // of print, eprint, env, arg of what a verb of the real program only takes
	N    int           // of exit and lines
	For  time.Duration // of sleep
}

// Verbs, and what follows each.
const (
	Print    = "print"    // TEXT: writes it and a newline to stdout
	Eprint   = "eprint"   // TEXT: the same to stderr
	Lines    = "lines"    // N: writes N lines, each its number from 0 as nine digits
	Env      = "env"      // NAME: writes the value of a variable and a newline to stdout
	Sleep    = "sleep"    // DURATION
	Wait     = "wait"     // for ever
	Exit     = "exit"     // CODE
	Stubborn = "stubborn" // from here on signals other than SIGKILL are ignored
	Hog      = "hog"      // takes memory until it is killed
	Copy     = "copy"     // copies stdin to stdout until it ends
	Workdir  = "workdir"  // writes the working folder
	ID       = "id"       // writes "uid gid groups..."; real program only, as all that follow
	Status   = "status"   // FIELD: writes the value of a field of /proc/self/status
	Cat      = "cat"      // FILE: writes what is in it
	Write    = "write"    // FILE: makes it, holding "x"; says why not on stderr, and goes on
	Host     = "host"     // writes the host's name
	Size     = "size"     // waits until stdin is a terminal of a size that is not 0 and writes it as "columns rows"
	Fork     = "fork"     // starts a child that sleeps for ever with stdout open
	Ps       = "ps"       // writes the command line of each process that it sees, by their numbers
	Link     = "link"     // FILE: writes where a link leads
	Mount    = "mount"    // FOLDER: mounts a tmpfs there
	Child    = "child"    // STEP: has a child do it, and waits for its end
	Paced    = "paced"    // N: writes N lines as Lines does, one each millisecond
)

// Parse reads the arguments of the program.
func Parse(args []string) ([]Step, error) {
	var out []Step
	for len(args) > 0 {
		s := Step{Verb: args[0]}
		args = args[1:]
		switch s.Verb {
		case Wait, Stubborn, Hog, Copy, Workdir, ID, Host, Size, Fork, Ps:
			out = append(out, s)
			continue
		case Print, Eprint, Env, Lines, Paced, Sleep, Exit, Status, Cat, Write, Link, Mount, Child:
		default:
			return nil, fmt.Errorf("unknown step %q", s.Verb)
		}
		if len(args) == 0 {
			return nil, fmt.Errorf("step %q wants an argument", s.Verb)
		}
		var err error
		s.Text, args = args[0], args[1:]
		switch s.Verb {
		case Lines, Paced, Exit:
			s.N, err = strconv.Atoi(s.Text)
		case Sleep:
			s.For, err = time.ParseDuration(s.Text)
		}
		if err != nil {
			return nil, fmt.Errorf("step %q: %w", s.Verb, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// Line is line i of what Lines writes.
func Line(i int) string { return fmt.Sprintf("%09d\n", i) }
