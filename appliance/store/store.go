// Package store keeps bindings in a file, so that a restarted anchor serves on. It writes behind: Save and Delete return at
// once and a goroutine commits what has gathered, many changes in one transaction. What a crash takes is the last
// transaction's worth; a mobile node whose binding is lost with it is told so by its first packet and registers again.
package store

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

var bucket = []byte("bindings")

// openTimeout is how long Open waits for another process to let the file go.
const openTimeout = 2 * time.Second

// Store is a file of records. Its methods are safe for concurrent use.
type Store struct {
	db *bolt.DB

	mu      sync.Mutex        // guards what follows
	pending map[string][]byte // what is not in the file yet; nil deletes
	failed  error             // of the last commit; nil once one succeeds

	wake    chan struct{}
	closing chan struct{}
	closed  chan struct{}
}

// Open opens or makes the file. A file that is no store, or one that another process has open, is an error.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("binding store: %w", err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: openTimeout})
	if err != nil {
		return nil, fmt.Errorf("binding store %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("binding store %s: %w", path, err)
	}
	s := &Store{
		db: db, pending: map[string][]byte{},
		wake: make(chan struct{}, 1), closing: make(chan struct{}), closed: make(chan struct{}),
	}
	go s.write()
	return s, nil
}

// Save implements binding.Store. The error is that of an earlier commit, which is tried again.
func (s *Store) Save(key, record []byte) error { return s.put(key, record) }

// Delete implements binding.Store, as Save does.
func (s *Store) Delete(key []byte) error { return s.put(key, nil) }

func (s *Store) put(key, record []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending[string(key)] = record
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return s.failed
}

// Load implements binding.Store.
func (s *Store) Load(each func(key, record []byte) error) error {
	return s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
			// bolt's octets end with the transaction.
			return each(append([]byte(nil), k...), append([]byte(nil), v...))
		})
	})
}

// Close commits what is pending and closes the file.
func (s *Store) Close() error {
	close(s.closing)
	<-s.closed
	err := s.commit()
	if e := s.db.Close(); err == nil {
		err = e
	}
	return err
}

func (s *Store) write() {
	defer close(s.closed)
	for {
		select {
		case <-s.closing:
			return
		case <-s.wake:
		}
		if s.commit() != nil {
			select { // a full disk may be emptied
			case <-s.closing:
				return
			case <-time.After(time.Second):
				select {
				case s.wake <- struct{}{}:
				default:
				}
			}
		}
	}
}

func (s *Store) commit() error {
	s.mu.Lock()
	changes := s.pending
	s.pending = map[string][]byte{}
	s.mu.Unlock()
	if len(changes) == 0 {
		return nil
	}
	err := s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		for k, v := range changes {
			var err error
			if v == nil {
				err = b.Delete([]byte(k))
			} else {
				err = b.Put([]byte(k), v)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	if err != nil {
		for k, v := range changes {
			if _, newer := s.pending[k]; !newer {
				s.pending[k] = v
			}
		}
	}
	return err
}
