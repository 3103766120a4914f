package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/coffer-storage/coffer/server/durable"
)

// endActions are in the lines that outlive retention: a restore must never bring back what they say has ended, and an
// altered log stays altered.
var endActions = [][]byte{actionText(TenantShred), actionText(KeyDestroy), actionText(LogBegun), alteredAction}

// prune deletes the chain's earlier files beyond those that are kept.
func (k *keeper) prune() error {
	if err := k.note(); err != nil { // the head must be behind what is deleted
		return err
	}
	_ = os.Remove(newLogFile(k.dir, k.head.Head.Chain, k.head.Pruned).path) // if a kill left it
	files, err := listFiles(k.dir, k.head.Head.Chain, k.head.From.Seq)
	w := walk{linker: k.key.newLinker(), at: k.head.from()}
	for ; len(files)-1 > k.options.Keep && err == nil; files = files[1:] {
		err = k.pruneFile(&w, files[0], files[1])
	}
	return err
}

// pruneFile deletes a file. It keeps one that is not as it was written, or that the next one does not follow: that is
// evidence.
func (k *keeper) pruneFile(w *walk, file, next logFile) error {
	ends, err := readEnds(w, file)
	if err != nil {
		return fmt.Errorf("audit: %s is not as it was written, run coffer audit verify: %w", file.path, err)
	}
	first, err := firstPiece(next)
	if l, ok := parseLink(first.line()); err != nil || !ok || !w.follows(w.at, l) {
		return fmt.Errorf("audit: %s does not follow %s, run coffer audit verify: %w", next.path, file.path, errors.Join(ErrAltered, err))
	}
	if len(ends) > 0 {
		err = k.keep(ends)
	}
	if err == nil {
		err = k.submit(k.batch(nil, []Event{{Action: auditPruned, Facts: Facts{FactTo: strconv.FormatUint(w.at.Seq, 10)}}}))
	}
	if err != nil {
		return err
	}
	k.head.From, k.head.Pruned = w.at, file.first
	if err := k.writeHead(); err != nil {
		return err
	}
	return durable.Remove(file.path)
}

// readEnds reads a file and returns the objects of the lines that are to be kept.
func readEnds(w *walk, file logFile) (objects []byte, err error) {
	s := source{files: []logFile{file}}
	for p, err := range s.all(context.Background()) {
		if err != nil || !w.take(p) {
			return nil, errors.Join(ErrAltered, err)
		}
		in := func(action []byte) bool { return bytes.Contains(p.text, action) }
		if w.rest.bytes > 0 || !slices.ContainsFunc(endActions, in) {
			continue
		}
		var r record
		if err := json.Unmarshal(p.text, &r); err != nil {
			return nil, err
		}
		r.Of = w.at.position()
		objects = append(append(objects, r.object()...), '\n')
	}
	if w.rest.bytes > 0 {
		return nil, ErrAltered
	}
	return objects, nil
}

// keep adds objects to the chain that retention never deletes.
func (k *keeper) keep(objects []byte) error {
	release, err := lockKept(k.dir, k.key)
	if err != nil {
		return err
	}
	defer release()
	h, err := readHead(k.dir, keptChain, k.key)
	if err != nil {
		return err
	}
	options := k.options
	options.Copy = nil // these lines were copied when they were new
	c := chain{linker: k.key.newLinker(), dir: k.dir, options: &options, open: openDisk}
	if err = c.find(h); err != nil {
		return err
	}
	if _, err = c.write(objects, ""); err == nil {
		err = c.file.Sync()
	}
	if err = errors.Join(err, c.file.Close()); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	h = c.head()
	return writeSealed(headPath(k.dir, keptChain), k.key, &h)
}

// lockKept acquires the chain of kept lines, and begins it if it does not exist.
func lockKept(dir string, key *Key) (release func(), err error) {
	unlock, err := durable.Lock(lockPath(dir))
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	defer unlock()
	var list chainList
	if err = readSealed(listPath(dir), key, &list); err == nil {
		err = register(dir, key, &list, keptChain)
	}
	if err != nil {
		return nil, err
	}
	return durable.Lock(lockPath(chainDir(dir, keptChain)))
}
