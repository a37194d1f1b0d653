package script

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAScriptIsItsSteps(t *testing.T) {
	got, err := Parse([]string{"print", "wait", "sleep", "10ms", "stubborn", "exit", "3"})
	want := []Step{{Verb: Print, Text: "wait"}, {Verb: Sleep, Text: "10ms", For: 10 * time.Millisecond}, {Verb: Stubborn}, {Verb: Exit, Text: "3", N: 3}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, args := range [][]string{{"dance"}, {"print"}, {"exit", "x"}, {"sleep", "long"}} {
		if _, err := Parse(args); err == nil {
			t.Error(args, "is taken")
		}
	}
}
