package format

// Supersedes reports whether binary package a replaces binary package b of the same place (SPEC.md section 3.4). The
// package with the greater revision wins. If the revisions are equal, the later EncryptedAt wins, and then the greater
// bytes, so that all replicas keep the same package. It returns the errors of Parse.
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
