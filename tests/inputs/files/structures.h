// Structures and a file of them, compiled by make_files.py.
#include <string>
#include <vector>

#include "TClonesArray.h"
#include "TFile.h"
#include "TLorentzVector.h"
#include "TTree.h"

struct Track {
  float d0 = 0;
  int hits = 0;
};
struct Particle {
  double pt = 0;
  short charge = 0;
  float cov[3] = {0, 0, 0};
  std::vector<float> iso;
  std::string name;
  Track track;
};
struct Event : public TObject {
  int run = 0;
  std::vector<Particle> particles;
  Particle best;
  ClassDef(Event, 1)
};

#ifdef __CLING__
#pragma link C++ class Track + ;
#pragma link C++ class Particle + ;
#pragma link C++ class std::vector < Particle> + ;
#pragma link C++ class std::vector < TLorentzVector> + ;
#pragma link C++ class Event + ;
#endif

Particle particle(int i, int j) {
  Particle made;
  made.pt = 10. + i + 0.25 * j;
  made.charge = (i + j) % 2 ? -1 : 1;
  made.name = "p" + std::to_string(j);
  made.track = {0.5f * i - j, i + 10 * j};
  for (int k = 0; k < 3; ++k) {
    made.cov[k] = i * k + j;
    if (k < j) made.iso.push_back(0.5 * k + i);
  }
  return made;
}

TLorentzVector lorentz(int i, int j) {
  TLorentzVector made;
  made.SetPtEtaPhiM(20. + i - 2 * j, 0.1 * i - j, 0.2 * i, 5.);
  return made;
}

// Objects, split and whole, vectors of them, and a TClonesArray.
void write_objects(const char *path, int events) {
  TFile file(path, "RECREATE");
  TTree tree("events", "");
  TLorentzVector split, *at_split = &split;
  std::vector<TLorentzVector> vectors, *at_vectors = &vectors;
  TClonesArray clones("TVector3", 4), *at_clones = &clones;
  std::vector<Particle> particles, *at_particles = &particles;
  Particle one, *at_one = &one;
  Event event, *at_event = &event;
  tree.Branch("split", &at_split, 32000, 99);
  tree.Branch("dotted.", &at_split, 32000, 99);
  tree.Branch("whole", &at_split, 32000, 0);
  tree.Branch("vectors", &at_vectors, 32000, 0);
  tree.Branch("clones", &at_clones, 32000, 99);
  tree.Branch("particles", &at_particles, 32000, 99);
  tree.Branch("one", &at_one, 32000, 99);
  tree.Branch("one_whole", &at_one, 32000, 0);
  tree.Branch("event", &at_event, 32000, 99);
  for (int i = 0; i < events; ++i) {
    split = lorentz(i, 0);
    vectors.clear(), particles.clear(), clones.Clear();
    for (int j = 0; j < i % 3; ++j) {
      vectors.push_back(lorentz(i, j)), particles.push_back(particle(i, j));
      new (clones[j]) TVector3(i, j, i * j);
    }
    one = particle(i, 2);
    event.run = 100 + i, event.particles = particles, event.best = one;
    tree.Fill();
  }
  tree.Write();
}
