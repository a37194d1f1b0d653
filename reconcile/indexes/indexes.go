// Package indexes holds sets of the indexes of a Job in the text form that Kubernetes gives them: "1,3-5,7".
package indexes

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Set of numbers from 0 on, as ordered spans that neither overlap nor touch. Sets do not change.
type Set []Span

// A Span is the numbers from First to Last.
type Span struct{ First, Last int }

// Of is the set of those numbers.
func Of(numbers ...int) Set {
	spans := make([]Span, len(numbers))
	for i, n := range numbers {
		spans[i] = Span{n, n}
	}
	return joined(spans)
}

// joined sorts spans, and makes one of those that overlap or touch.
func joined(spans []Span) Set {
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.First, b.First) })
	var s Set
	for _, span := range spans {
		if last := len(s) - 1; last >= 0 && span.First <= s[last].Last+1 {
			s[last].Last = max(s[last].Last, span.Last)
		} else {
			s = append(s, span)
		}
	}
	return s
}

// Or is the set of what is in s or in o.
func (s Set) Or(o Set) Set { return joined(slices.Concat(s, o)) }

// Below is the set of what in s is less than n.
func (s Set) Below(n int) Set {
	var out Set
	for _, span := range s {
		if span.First < n {
			out = append(out, Span{span.First, min(span.Last, n-1)})
		}
	}
	return out
}

// Has tells whether n is in s.
func (s Set) Has(n int) bool {
	i, found := slices.BinarySearchFunc(s, n, func(span Span, n int) int {
		switch {
		case span.Last < n:
			return -1
		case span.First > n:
			return 1
		}
		return 0
	})
	return found && i < len(s)
}

// Len is how many numbers there are in s.
func (s Set) Len() int {
	n := 0
	for _, span := range s {
		n += span.Last - span.First + 1
	}
	return n
}

// Common is how many numbers are in both s and o.
func (s Set) Common(o Set) int {
	n := 0
	for i, j := 0, 0; i < len(s) && j < len(o); {
		n += max(min(s[i].Last, o[j].Last)-max(s[i].First, o[j].First)+1, 0)
		if s[i].Last < o[j].Last {
			i++
		} else {
			j++
		}
	}
	return n
}

// Missing are the first count numbers below n that are not in s.
func (s Set) Missing(count, n int) []int {
	var out []int
	next := 0
	for _, span := range append(slices.Clone(s), Span{n, n}) {
		for ; next < min(span.First, n) && len(out) < count; next++ {
			out = append(out, next)
		}
		next = max(next, span.Last+1)
	}
	return out
}

// String is the text form. Two neighbours are written as two numbers, not as a range.
func (s Set) String() string {
	var b strings.Builder
	for i, span := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(span.First))
		if span.Last > span.First {
			b.WriteByte(map[bool]byte{true: ',', false: '-'}[span.Last == span.First+1])
			b.WriteString(strconv.Itoa(span.Last))
		}
	}
	return b.String()
}

// Parse reads the text form. The numbers must rise, and stay below limit.
func Parse(text string, limit int) (Set, error) {
	if text == "" {
		return nil, nil
	}
	var spans []Span
	last := -1
	for part := range strings.SplitSeq(text, ",") {
		span, err := parseSpan(part, limit)
		if err != nil {
			return nil, err
		}
		if span.First <= last {
			return nil, fmt.Errorf("non-increasing order, previous: %d, current: %d", last, span.First)
		}
		last = span.Last
		spans = append(spans, span)
	}
	return joined(spans), nil
}

func parseSpan(text string, limit int) (Span, error) {
	ends := strings.Split(text, "-")
	if len(ends) > 2 {
		return Span{}, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	numbers := make([]int, len(ends))
	for i, end := range ends {
		n, err := strconv.Atoi(end)
		switch {
		case err != nil:
			return Span{}, fmt.Errorf("cannot convert string to integer for index: %q", end)
		case n >= limit:
			return Span{}, fmt.Errorf("too large index: %q", end)
		case i > 0 && n <= numbers[0]:
			return Span{}, fmt.Errorf("non-increasing order, previous: %d, current: %d", numbers[0], n)
		}
		numbers[i] = n
	}
	return Span{numbers[0], numbers[len(numbers)-1]}, nil
}
