package format

// Supersedes reports whether binary package a replaces package b of the same place (SPEC.md section 3.4). It has the
// greater revision; if both are equal, the later time; if both are equal again, the greater bytes. So every replica keeps
// the same package. It returns the errors of Parse.
func Supersedes(a, b []byte) (bool, error) {
	p, err := Parse(a)
	if err != nil {
		return false, err
	}
	q, err := Parse(b)
	if err != nil {
		return false, err
	}
	switch {
	case p.Header.Revision != q.Header.Revision:
		return p.Header.Revision > q.Header.Revision, nil
	case p.Header.EncryptedAt != q.Header.EncryptedAt:
		return p.Header.EncryptedAt > q.Header.EncryptedAt, nil
	}
	return string(a) > string(b), nil
}
