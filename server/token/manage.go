package token

import (
	"errors"
	"io/fs"
	"slices"
)

// CreateFirst makes a token with all scopes on the default tenant if there is no file. If there is one, even
// without tokens, it returns the empty string, or ErrDamaged if the file cannot be understood.
func (f *File) CreateFirst() (text string, t Token, err error) {
	if _, err := f.current(); !errors.Is(err, fs.ErrNotExist) {
		return "", Token{}, err
	}
	text, made := generate(first, f.now())
	err = f.change(func(entries []entry) ([]entry, error) {
		if entries != nil {
			return nil, fs.ErrExist // of several servers that start at once, one makes it
		}
		return []entry{made}, nil
	})
	if errors.Is(err, fs.ErrExist) {
		return "", Token{}, nil
	}
	if err != nil {
		return "", Token{}, err
	}
	return text, made.Token, nil
}

// Issue makes a new token and returns it; it cannot be had again. Its errors are ErrGrant, ErrFull,
// ErrDamaged, and those of the file system.
func (f *File) Issue(g Grant) (text string, t Token, err error) {
	if !g.valid() {
		return "", Token{}, ErrGrant
	}
	text, made := generate(g, f.now())
	err = f.change(func(entries []entry) ([]entry, error) {
		if len(entries) >= maxTokens {
			return nil, ErrFull
		}
		return append(entries, made), nil
	})
	if err != nil {
		return "", Token{}, err
	}
	return text, made.Token, nil
}

// List returns what is known of the tokens, including expired ones, in the order in which they were made.
func (f *File) List() ([]Token, error) {
	entries, err := f.current()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	tokens := make([]Token, len(entries))
	for i := range entries {
		tokens[i] = entries[i].Token
	}
	return tokens, err
}

// Revoke ends a token by its id and returns what was known of it, or ErrNoToken.
func (f *File) Revoke(id string) (t Token, err error) {
	err = f.change(func(entries []entry) ([]entry, error) {
		i := slices.IndexFunc(entries, func(e entry) bool { return e.ID == id })
		if i < 0 {
			return nil, ErrNoToken
		}
		t = entries[i].Token
		return slices.Delete(entries, i, i+1), nil
	})
	return t, err
}
