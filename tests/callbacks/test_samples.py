"""What TensorBoard shows of movies."""

import torch
from sklearn.decomposition import PCA

from lightning_lp.callbacks.samples import main_directions


def test_the_projector_gets_principal_components():
    z = torch.randn(60, 9, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 10) + 5
    found = main_directions(z, 4)
    wanted = torch.from_numpy(PCA(4).fit_transform(z.double().numpy())).float()
    torch.testing.assert_close(found.abs(), wanted.abs(), rtol=1e-4, atol=1e-4)
    whole = main_directions(z, 64)
    assert whole.shape == (60, 9)
    torch.testing.assert_close(torch.pdist(whole), torch.pdist(z), rtol=1e-4, atol=1e-3)
