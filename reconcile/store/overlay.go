package store

// With is s with objects put in, each in the place of what has its key: the state that writing them would make, before
// anybody does. Its Revision is that of s.
func (s *Snapshot) With(objects ...Object) *Snapshot {
	over := s.writable()
	for _, o := range objects {
		k := s.Key(o)
		old, _ := over.Get(k)
		over.apply(k, old, o)
	}
	over.finish()
	return over
}
