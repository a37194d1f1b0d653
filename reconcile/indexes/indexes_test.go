package indexes

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestTheTextFormIsThatOfKubernetes(t *testing.T) {
	for _, c := range []struct {
		numbers []int
		want    string
	}{
		{nil, ""}, {[]int{3}, "3"}, {[]int{1, 2}, "1,2"}, {[]int{2, 0, 1}, "0-2"}, {[]int{0, 2, 3, 4, 9}, "0,2-4,9"}, {[]int{5, 5}, "5"},
	} {
		s := Of(c.numbers...)
		if got := s.String(); got != c.want {
			t.Errorf("%v is written %q, want %q", c.numbers, got, c.want)
		}
		back, err := Parse(c.want, 10)
		if err != nil || !slices.Equal(back, s) {
			t.Errorf("%q is read as %v (%v), want %v", c.want, back, err, s)
		}
	}
}

func TestWhatIsNoSetIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"a":     `cannot convert string to integer for index: "a"`,
		"1,":    `cannot convert string to integer for index: ""`,
		"3,2":   "non-increasing order, previous: 3, current: 2",
		"3-3":   "non-increasing order, previous: 3, current: 3",
		"1-2-3": `the fragment "1-2-3" violates the requirement that an index interval can have at most two parts separated by '-'`,
		"10":    `too large index: "10"`,
		"1-10":  `too large index: "10"`,
	} {
		if _, err := Parse(text, 10); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestSetsAreLikeMaps(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	some := func() (Set, map[int]bool) {
		m := map[int]bool{}
		var numbers []int
		for range rng.IntN(12) {
			n := rng.IntN(20)
			m[n] = true
			numbers = append(numbers, n)
		}
		return Of(numbers...), m
	}
	for range 3000 {
		a, am := some()
		b, bm := some()
		both, below, common, limit := a.Or(b), 0, 0, rng.IntN(22)
		var missing []int
		for n := range 20 {
			if a.Has(n) != am[n] || both.Has(n) != (am[n] || bm[n]) || a.Below(limit).Has(n) != (am[n] && n < limit) {
				t.Fatalf("%d in %v, %v, below %d: it is otherwise in the maps", n, a, b, limit)
			}
			if am[n] && n < limit {
				below++
			}
			if am[n] && bm[n] {
				common++
			}
			if !am[n] && n < limit && len(missing) < 3 {
				missing = append(missing, n)
			}
		}
		if a.Len() != len(am) || a.Below(limit).Len() != below || a.Common(b) != common || !slices.Equal(a.Missing(3, limit), missing) {
			t.Fatalf("%v, %v, limit %d: %d below, %d common, missing %v, want %d, %d, %v", a, b, limit, a.Below(limit).Len(), a.Common(b), a.Missing(3, limit), below, common, missing)
		}
	}
}
