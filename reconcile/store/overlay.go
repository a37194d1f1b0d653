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

// Without is s with the objects at keys taken out.
func (s *Snapshot) Without(keys ...Key) *Snapshot {
	if len(keys) == 0 {
		return s
	}
	over := s.writable()
	for _, k := range keys {
		if old, ok := over.Get(k); ok {
			over.apply(k, old, nil)
		}
	}
	over.finish()
	return over
}
