package binding

import (
	"errors"
	"fmt"
	"time"
)

// Store keeps the records of a cache beyond the process. A cache calls it from Put, Delete and Load only; a store that
// would block for long writes behind. Key and record are the store's to keep.
type Store interface {
	// Save writes the record of key, in place of the one before.
	Save(key, record []byte) error
	// Delete removes the record of key. It is no error if there is none.
	Delete(key []byte) error
	// Load hands every record to each, in any order, until each fails.
	Load(each func(key, record []byte) error) error
}

func (c *Cache) save(b *Binding) error {
	if c.store == nil {
		return nil
	}
	record, err := AppendRecord(make([]byte, 0, recordFixed+recordOutside+len(b.Owner)+1+17*len(b.Networks)), b)
	if err == nil {
		err = c.store.Save(recordKey(b.Home), record)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return nil
}

// Load takes the store's bindings in. Those that expired before now are taken in too, and are due at once; none lasts longer
// from now than its lifetime, even if the clock went back. A record that
// cannot be read, or that the limits leave no room for, is left out and reported in the joined error, which wraps
// ErrRecord, ErrFull or ErrOwnerFull then; any other error is the store's.
func (c *Cache) Load(now time.Time) error {
	if c.store == nil {
		return nil
	}
	var problems []error
	store := c.store
	// What is read needs no writing back.
	c.store = nil
	defer func() { c.store = store }()
	err := store.Load(func(key, record []byte) error {
		b, err := ParseRecord(key, record)
		if err == nil {
			// Read off the wall clock once; from here on the monotonic clock counts.
			left := b.Expires.Sub(now.Round(0))
			if b.Flags&Invalid == 0 {
				left = min(left, b.Lifetime)
			}
			b.Expires = now.Add(left)
			b.Since = now.Add(b.Since.Sub(now.Round(0)))
			err = c.Put(b)
		}
		if err != nil {
			problems = append(problems, err)
		}
		return nil
	})
	if err != nil {
		problems = append(problems, fmt.Errorf("%w: %w", ErrStore, err))
	}
	return errors.Join(problems...)
}
