// Checks a tiled log with Go's own code for transparency logs: verify DIR [CHECKPOINTS [RECEIPTS]]
//
// DIR has the log's tiles and checkpoint. The folders hold checkpoints and receipts of it that were seen before: the
// log must continue each checkpoint and hold each receipt's entry. The keys lie in the files named by -key and -witness.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	keyFile := flag.String("key", "key", "file with the log's verifier key")
	witnessFile := flag.String("witness", "", "file with a witness's verifier key")
	flag.Parse()
	known := []note.Verifier{must(note.NewVerifier(strings.TrimSpace(read(*keyFile))))}
	if *witnessFile != "" {
		known = append(known, newWitness(strings.TrimSpace(read(*witnessFile))))
	}
	dir := flag.Arg(0)
	tree := open(filepath.Join(dir, "checkpoint"), known)

	// A reader of older releases does not authenticate every tile, but each hash is part of some entry's proof.
	hashes := tlog.TileHashReader(tree, folder{dir})
	entries := readEntries(dir, tree.N)
	for at, entry := range entries {
		checkInclusion(tree, int64(at), entry, must(tlog.ProveRecord(tree.N, int64(at), hashes)))
	}
	fmt.Printf("%d entries are included\n", len(entries))

	if flag.NArg() > 1 {
		checkConsistency(flag.Arg(1), tree, hashes, known)
	}
	if flag.NArg() > 2 {
		for _, file := range list(flag.Arg(2)) {
			checkReceipt(file, entries, known)
		}
		fmt.Printf("%d receipts hold\n", len(list(flag.Arg(2))))
	}
}

func checkConsistency(dir string, tree tlog.Tree, hashes tlog.HashReader, known []note.Verifier) {
	var seen []tlog.Tree
	for _, file := range list(dir) {
		seen = append(seen, open(file, known))
	}
	seen = append(seen, tree)
	pairs := 0
	for at, old := range seen {
		if old.N == 0 {
			if old.Hash != tlog.Hash(sha256.Sum256(nil)) {
				fail("size 0 has another root")
			}
			continue
		}
		for _, new := range seen[at:] {
			proof, err := tlog.ProveTree(new.N, old.N, hashes)
			if err == nil {
				err = tlog.CheckTree(proof, new.N, new.Hash, old.N, old.Hash)
			}
			if err != nil {
				fail("size %d does not continue size %d: %v", new.N, old.N, err)
			}
			pairs++
		}
	}
	fmt.Printf("%d checkpoints are consistent, in %d pairs\n", len(seen), pairs)
}

// checkReceipt reads a proof as c2sp.org/tlog-proof has it, without extra data.
func checkReceipt(file string, entries [][]byte, known []note.Verifier) {
	head, signed, found := strings.Cut(read(file), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		fail("%s: no receipt", file)
	}
	index := must(strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64))
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		proof = append(proof, must(tlog.ParseHash(line)))
	}
	checkInclusion(parse(file, signed, known), index, entries[index], proof)
}

func checkInclusion(tree tlog.Tree, index int64, entry []byte, proof tlog.RecordProof) {
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		fail("entry %d is not included: %v", index, err)
	}
}

// open reads a signed checkpoint; all keys that are known must have signed it.
func open(file string, known []note.Verifier) tlog.Tree {
	return parse(file, read(file), known)
}

func parse(file, signed string, known []note.Verifier) tlog.Tree {
	opened, err := note.Open([]byte(signed), note.VerifierList(known...))
	if err != nil {
		fail("%s: %v", file, err)
	}
	if len(opened.Sigs) != len(known) {
		fail("%s: %d of %d signatures", file, len(opened.Sigs), len(known))
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != known[0].Name() {
		fail("%s: no checkpoint of %s", file, known[0].Name())
	}
	return tlog.Tree{N: must(strconv.ParseInt(lines[1], 10, 64)), Hash: must(tlog.ParseHash(lines[2]))}
}

// folder reads the tiles of a log; Go's names for them have the height, and those of c2sp.org/tlog-tiles have not.
type folder struct{ dir string }

func (f folder) Height() int                     { return 8 }
func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}
func (f folder) path(tile tlog.Tile) string {
	path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
	return filepath.Join(f.dir, strings.Replace(path, "tile/data/", "tile/entries/", 1))
}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(f.path(tile))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func readEntries(dir string, size int64) [][]byte {
	var entries [][]byte
	for n := int64(0); n*256 < size; n++ {
		width := size - n*256
		if width > 256 {
			width = 256
		}
		data := []byte(read(folder{dir}.path(tlog.Tile{H: 8, L: -1, N: n, W: int(width)})))
		for i := int64(0); i < width; i++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				fail("bundle %d is cut short", n)
			}
			length := 2 + int(binary.BigEndian.Uint16(data))
			entries = append(entries, data[2:length])
			data = data[length:]
		}
		if len(data) > 0 {
			fail("bundle %d has bytes left over", n)
		}
	}
	return entries
}

// witness verifies cosignatures, c2sp.org/tlog-cosignature, which the package does not know itself.
type witness struct {
	name string
	key  ed25519.PublicKey
}

func newWitness(text string) witness {
	parts := strings.SplitN(text, "+", 3)
	return witness{parts[0], must(base64.StdEncoding.DecodeString(parts[2]))[1:]}
}

func (w witness) Name() string { return w.name }

func (w witness) KeyHash() uint32 {
	hash := sha256.Sum256(bytes.Join([][]byte{[]byte(w.name), {'\n', 4}, w.key}, nil))
	return binary.BigEndian.Uint32(hash[:])
}

func (w witness) Verify(text, sig []byte) bool {
	if len(sig) != 72 {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), text)
	return ed25519.Verify(w.key, []byte(signed), sig[8:])
}

func list(dir string) []string {
	return must(filepath.Glob(filepath.Join(dir, "*")))
}

func read(file string) string {
	return string(must(os.ReadFile(file)))
}

func must[T any](value T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func fail(format string, args ...any) {
	fmt.Printf("refused: "+format+"\n", args...)
	os.Exit(1)
}
