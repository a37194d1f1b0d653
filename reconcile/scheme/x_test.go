package scheme

import "testing"

func TestX(t *testing.T) {
	s := New(Options{})
	for _, k := range s.All() {
		t.Log(k.GroupVersionKind, k.Plural)
	}
}
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		New(Options{})
	}
}
